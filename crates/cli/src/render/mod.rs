//! What people see. Everything here makes text of the same JSON that `--json` prints.

pub(crate) mod conflict;
pub(crate) mod csv;
pub(crate) mod history;
pub(crate) mod live;
pub(crate) mod peers;
pub(crate) mod rows;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod text;
