//! The rules of other routers as policies, to be compared with in the simulator and never shipped.
