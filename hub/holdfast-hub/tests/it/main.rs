//! The hub's program as its users run it: real processes, real kubectl where there is one.

mod hub;
mod kubectl;
mod life;
mod tokens;
