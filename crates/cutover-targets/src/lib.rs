//! Clients of the places replicas run, behind the conductor's ports
