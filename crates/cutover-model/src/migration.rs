//! What the plan and the conductor need to know of a migration: its id, its phase and its state.
