//! What holds of stores that real Dolt writes and reads.

mod cli;
mod commits;
mod hostile;
mod real;
