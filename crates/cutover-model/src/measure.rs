//! What the gate counts for each release and route, as mergeable values.
