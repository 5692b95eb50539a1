//! Looks at the replicas of a release while its counts are watched. Counts alone can't tell of a replica that is down: the
//! requests it does not get are nobody's, and where all are down there is nothing to count.

use std::time::Duration;

use cutover_model::{
    ReleaseNumber,
    fleet::{Observed, ObservedRelease},
};

use crate::ports::PortError;

/// How long none of them may be ready: a good release is back before that when its last replica was killed by chance.
const NONE_READY_FOR: Duration = Duration::from_secs(10);

/// Ends of replicas during one watch from which on it is no chance.
const KEEPS_ENDING: u32 = 3;

/// How the replicas stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All are ready.
    Whole,
    /// Some are not, or that can't be seen. No reason to pass, and none to fail yet.
    Lacking(String),
    /// They won't get ready, and why that is believed.
    Broken(String),
}

/// One look after another at a release that should have so many replicas ready.
#[derive(Debug)]
pub(super) struct Replicas {
    release: ReleaseNumber,
    wanted: u32,
    /// Restarts of all its replicas when they were first seen.
    restarts_before: Option<u32>,
    none_ready_since: Option<Duration>,
}

impl Replicas {
    pub(super) fn of(release: ReleaseNumber, wanted: u32) -> Self {
        Self { release, wanted, restarts_before: None, none_ready_since: None }
    }

    /// Judges what is seen at a moment of a clock that does not go back.
    pub(super) fn judge(&mut self, seen: Result<Option<Observed>, PortError>, now: Duration) -> Standing {
        let observed = match seen {
            Ok(Some(observed)) => observed,
            Ok(None) => return Standing::Lacking("the fleet is not there".into()),
            Err(error) => return Standing::Lacking(format!("the fleet can't be seen: {error}")),
        };
        let ready = observed.ready(self.release);
        let of_release = observed.release(self.release);
        let restarts = of_release.map_or(0, |of| of.replicas.iter().map(|replica| replica.restarts).sum());
        let ended = restarts.saturating_sub(*self.restarts_before.get_or_insert(restarts));
        let since = (ready == 0).then(|| self.none_ready_since.unwrap_or(now));
        self.none_ready_since = since;
        let reason =
            of_release.and_then(latest_reason).map(|reason| format!(": {reason}")).unwrap_or_default();
        if ended >= KEEPS_ENDING {
            let what =
                format!("replicas of {} ended {ended} times while it was watched{reason}", self.release);
            return Standing::Broken(what);
        }
        if since.is_some_and(|since| now >= since + NONE_READY_FOR) {
            let what =
                format!("no replica of {} has been ready for {NONE_READY_FOR:?}{reason}", self.release);
            return Standing::Broken(what);
        }
        if ready < self.wanted {
            let (release, wanted) = (self.release, self.wanted);
            return Standing::Lacking(format!("{ready} of {wanted} replicas of {release} are ready{reason}"));
        }
        Standing::Whole
    }
}

fn latest_reason(of: &ObservedRelease) -> Option<&str> {
    of.replicas.iter().rev().find_map(|replica| replica.reason.as_deref())
}

#[cfg(test)]
mod tests {
    use cutover_model::fleet::{Generation, ObservedReplica, ReplicaState};

    use super::*;

    fn seen(states: &[(ReplicaState, u32)]) -> Result<Option<Observed>, PortError> {
        let replica = |(n, (state, restarts)): (usize, &(ReplicaState, u32))| ObservedReplica {
            id: format!("r1-{n}"),
            state: *state,
            pid: None,
            port: 1,
            restarts: *restarts,
            in_flight: 0,
            reason: (*state != ReplicaState::Ready).then(|| "it exited with code 1".into()),
        };
        let replicas = states.iter().enumerate().map(replica).collect();
        let releases = vec![ObservedRelease { release: ReleaseNumber::FIRST, share: 1.0, replicas }];
        Ok(Some(Observed { generation: Generation::default(), version: 1, releases }))
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn whole_only_when_all_are_ready() {
        use ReplicaState::{Ready, Waiting};
        let mut replicas = Replicas::of(ReleaseNumber::FIRST, 2);
        assert_eq!(replicas.judge(seen(&[(Ready, 0), (Ready, 0)]), second(0)), Standing::Whole);
        let Standing::Lacking(why) = replicas.judge(seen(&[(Ready, 0), (Waiting, 1)]), second(1)) else {
            panic!()
        };
        assert_eq!(why, "1 of 2 replicas of r1 are ready: it exited with code 1");
        assert!(matches!(replicas.judge(Ok(None), second(2)), Standing::Lacking(_)));
        let lost = Err(PortError::Unreachable("gone".into()));
        assert!(matches!(replicas.judge(lost, second(3)), Standing::Lacking(_)));
    }

    #[test]
    fn replicas_that_keep_ending_are_broken_whatever_came_before_the_watch() {
        use ReplicaState::{Ready, Waiting};
        let mut replicas = Replicas::of(ReleaseNumber::FIRST, 2);
        assert_eq!(replicas.judge(seen(&[(Ready, 7), (Ready, 0)]), second(0)), Standing::Whole);
        assert!(matches!(replicas.judge(seen(&[(Ready, 7), (Waiting, 2)]), second(1)), Standing::Lacking(_)));
        assert!(matches!(
            replicas.judge(seen(&[(Waiting, 8), (Waiting, 2)]), second(2)),
            Standing::Broken(_)
        ));
    }

    #[test]
    fn none_ready_for_long_is_broken_and_for_a_moment_is_not() {
        use ReplicaState::{Ready, Waiting};
        let mut replicas = Replicas::of(ReleaseNumber::FIRST, 1);
        assert!(matches!(replicas.judge(seen(&[(Waiting, 1)]), second(0)), Standing::Lacking(_)));
        assert!(matches!(replicas.judge(seen(&[(Ready, 1)]), second(9)), Standing::Whole));
        assert!(matches!(replicas.judge(seen(&[(Waiting, 2)]), second(12)), Standing::Lacking(_)));
        assert!(matches!(replicas.judge(seen(&[(Waiting, 2)]), second(22)), Standing::Broken(_)));
    }
}
