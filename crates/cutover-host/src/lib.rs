//! One machine's engine: converges replicas to a desired state and holds the gate
