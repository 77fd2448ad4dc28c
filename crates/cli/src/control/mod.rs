//! One handler for every request, called in the running node through its control socket, or in this
//! process on the directory itself.

pub(crate) mod client;
mod decide;
pub(crate) mod handler;
pub(crate) mod protocol;
pub(crate) mod server;
mod socket;
