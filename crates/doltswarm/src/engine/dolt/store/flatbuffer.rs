//! A reader for FlatBuffers that no bytes can lead astray.
//!
//! Dolt's messages are FlatBuffers without a verifier: the server follows whatever offsets it
//! finds. This reader checks each of them, and refuses fields that are newer than it knows, as Dolt
//! does (`ErrTableHasUnknownFields`): such a field may name chunks that would be left behind.

/// What is wrong with a message.
pub(super) type Fault = &'static str;

const OUTSIDE: Fault = "an offset points outside of the message";

/// One table of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
    /// The fields' offsets from `at`, 16 bits each; 0 where a field is absent.
    fields: &'a [u8],
    /// How many bytes the table itself has.
    size: usize,
}

impl<'a> Table<'a> {
    /// The root table of a buffer, which may have at most `known` fields.
    pub(super) fn root(buffer: &'a [u8], known: usize) -> Result<Self, Fault> {
        Self::at(buffer, usize_at(buffer, 0)?, known)
    }

    fn at(buffer: &'a [u8], at: usize, known: usize) -> Result<Self, Fault> {
        let back = i32::from_le_bytes(array(buffer, at)?);
        let vtable = i64::try_from(at).map_err(|_| OUTSIDE)? - i64::from(back);
        let vtable = usize::try_from(vtable).map_err(|_| OUTSIDE)?;
        let length = usize::from(u16_at(buffer, vtable)?);
        let size = usize::from(u16_at(buffer, vtable.saturating_add(2))?);
        if length < 4 || length % 2 != 0 || size < 4 || at.saturating_add(size) > buffer.len() {
            return Err("a table of the message is damaged");
        }
        let fields = buffer.get(vtable + 4..vtable + length).ok_or(OUTSIDE)?;
        if fields.len() / 2 > known {
            return Err("the message has fields of a newer version of Dolt");
        }
        Ok(Self { buffer, at, fields, size })
    }

    /// Where a field of `bytes` bytes is, or `None` where it is absent.
    fn field(&self, index: usize, bytes: usize) -> Result<Option<usize>, Fault> {
        let Some(offset) = self.fields.get(index * 2..index * 2 + 2) else { return Ok(None) };
        let offset = usize::from(u16::from_le_bytes([offset[0], offset[1]]));
        match offset {
            0 => Ok(None),
            _ if offset < 4 || offset + bytes > self.size => Err(OUTSIDE),
            _ => Ok(Some(self.at + offset)),
        }
    }

    /// A field of one byte; 0 where absent.
    pub(super) fn u8(&self, index: usize) -> Result<u8, Fault> {
        let at = self.field(index, 1)?;
        at.map_or(Ok(0), |at| self.buffer.get(at).copied().ok_or(OUTSIDE))
    }

    /// A field of eight bytes; 0 where absent.
    pub(super) fn u64(&self, index: usize) -> Result<u64, Fault> {
        let at = self.field(index, 8)?;
        at.map_or(Ok(0), |at| Ok(u64::from_le_bytes(array(self.buffer, at)?)))
    }

    /// A vector or string of items of `item` bytes, or `None` where absent.
    pub(super) fn vector(&self, index: usize, item: usize) -> Result<Option<&'a [u8]>, Fault> {
        let Some(at) = self.field(index, 4)? else { return Ok(None) };
        let start = at.checked_add(usize_at(self.buffer, at)?).ok_or(OUTSIDE)?;
        let bytes = usize_at(self.buffer, start)?.checked_mul(item).ok_or(OUTSIDE)?;
        let rest = self.buffer.get(start.saturating_add(4)..).ok_or(OUTSIDE)?;
        rest.get(..bytes).map(Some).ok_or(OUTSIDE)
    }

    /// A vector of bytes that must be there.
    pub(super) fn bytes(&self, index: usize) -> Result<&'a [u8], Fault> {
        self.vector(index, 1)?.ok_or("a required field is absent")
    }

    /// A string; empty where absent.
    pub(super) fn string(&self, index: usize) -> Result<Option<&'a str>, Fault> {
        let Some(bytes) = self.vector(index, 1)? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| "a text of the message is not UTF-8")
    }

    /// A table within the table, which may have at most `known` fields.
    pub(super) fn table(&self, index: usize, known: usize) -> Result<Option<Self>, Fault> {
        let Some(at) = self.field(index, 4)? else { return Ok(None) };
        let start = at.checked_add(usize_at(self.buffer, at)?).ok_or(OUTSIDE)?;
        Self::at(self.buffer, start, known).map(Some)
    }
}

fn array<const N: usize>(buffer: &[u8], at: usize) -> Result<[u8; N], Fault> {
    buffer.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(OUTSIDE)
}

fn u16_at(buffer: &[u8], at: usize) -> Result<u16, Fault> {
    Ok(u16::from_le_bytes(array(buffer, at)?))
}

fn usize_at(buffer: &[u8], at: usize) -> Result<usize, Fault> {
    usize::try_from(u32::from_le_bytes(array(buffer, at)?)).map_err(|_| OUTSIDE)
}
