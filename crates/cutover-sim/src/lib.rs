//! Seeded simulator: fake ports with faults, virtual time, checkers of the eight rules
