//! The team's commands and the artifacts on the conductor's disk.

use std::path::PathBuf;

use async_trait::async_trait;
use cutover_conductor::ports::{Commands, PortError};
use cutover_model::{
    ReleaseNumber,
    run::{Note, Plan},
};

use super::Fake;
use crate::{fact::Call, sabotage::Sabotage, weather::Line};

#[async_trait]
impl Commands for Fake {
    async fn checks(&self, plan: &Plan) -> Result<Note, PortError> {
        let mishap = self.called(plan.release, Call::Checks);
        self.with_mishap(mishap, async {
            self.shared.ask(Line::Commands, |_| ()).await?;
            self.shared.pass(100, 3000).await;
            if self.commit(plan).checks_fail {
                Err(self.broken("check `unit` failed"))
            } else {
                Ok(Note::None)
            }
        })
        .await
    }

    async fn build(&self, plan: &Plan) -> Result<Note, PortError> {
        let mishap = self.called(plan.release, Call::Build);
        self.with_mishap(mishap, async {
            self.shared.ask(Line::Commands, |_| ()).await?;
            self.shared.pass(100, 5000).await;
            if self.commit(plan).build_fails {
                return Err(self.broken("the build failed"));
            }
            self.shared.world().keep_artifact(plan);
            self.shared.pass(0, 50).await;
            Ok(Note::Built { bytes: 1 })
        })
        .await
    }

    async fn smoke(&self, plan: &Plan) -> Result<Note, PortError> {
        let mishap = self.called(plan.release, Call::Smoke);
        self.with_mishap(mishap, async {
            self.shared.ask(Line::Commands, |_| ()).await?;
            self.shared.pass(100, 2000).await;
            if self.commit(plan).smoke_fails {
                Err(self.broken("the smoke command failed"))
            } else {
                Ok(Note::None)
            }
        })
        .await
    }

    fn tree(&self, _: &Plan, release: ReleaseNumber) -> PathBuf {
        format!("/releases/{release}").into()
    }

    async fn prune(&self, plan: &Plan, keep: &[ReleaseNumber]) -> Result<(), PortError> {
        let mishap = self.called(plan.release, Call::Prune);
        self.with_mishap(mishap, async {
            self.shared.ask(Line::Commands, |_| ()).await?;
            self.shared.pass(0, 300).await;
            let mut world = self.shared.world();
            let all = world.is_sabotaged(Sabotage::PrunerTakesAll);
            world.prune(if all { &[] } else { keep });
            Ok(())
        })
        .await
    }
}
