//! A writer of FlatBuffers, byte for byte like the one that Dolt uses.
//!
//! FlatBuffers, go/builder.go: a buffer is written from its end to its beginning. A chunk's hash is
//! over its bytes, so the padding and the order of fields matter where Dolt must arrive at the same
//! chunk.

use super::message::{MESSAGE, PREFIX_BYTES};

/// A part of the buffer that is written: how far its beginning is from the buffer's end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part(usize);

/// A message being written.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// The bytes, the last one first.
    reversed: Vec<u8>,
    alignment: usize,
}

/// A table being written: its fields, in the order in which they are written.
pub(super) struct Fields<'a> {
    builder: &'a mut Builder,
    end: usize,
    /// How far each field is from the buffer's end; 0 where it is absent.
    slots: Vec<usize>,
}

impl Builder {
    /// Writes a vector of bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Part {
        self.prepare(4, bytes.len());
        self.place(bytes);
        self.length(bytes.len())
    }

    /// Writes a text, with a zero behind it.
    pub(super) fn text(&mut self, text: &str) -> Part {
        self.prepare(4, text.len() + 1);
        self.place(&[0]);
        self.place(text.as_bytes());
        self.length(text.len())
    }

    /// Writes a vector of numbers of 16 bits.
    pub(super) fn shorts(&mut self, numbers: &[u16]) -> Part {
        self.prepare(4, 2 * numbers.len());
        for number in numbers.iter().rev() {
            self.place(&number.to_le_bytes());
        }
        self.length(numbers.len())
    }

    /// Begins a table, in which vectors and texts can no longer be written.
    pub(super) fn table(&mut self) -> Fields<'_> {
        let end = self.reversed.len();
        Fields { builder: self, end, slots: Vec::new() }
    }

    /// Completes the message with its root table and its file identifier.
    ///
    /// Dolt, go/serial/fileidentifiers.go (`FinishMessage`).
    pub(super) fn finish(mut self, root: Part, identifier: [u8; 4]) -> Vec<u8> {
        self.prepare(self.alignment, 8);
        self.place(&identifier);
        self.offset(root);
        let length = u32::try_from(self.reversed.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut message = Vec::with_capacity(PREFIX_BYTES + self.reversed.len());
        message.push(MESSAGE);
        message.extend(&length[1..]);
        message.extend(self.reversed.iter().rev());
        message
    }

    /// Pads so that what has `size` bytes is aligned after `more` bytes were written.
    fn prepare(&mut self, size: usize, more: usize) {
        self.alignment = self.alignment.max(size);
        let padded = (self.reversed.len() + more).next_multiple_of(size) - more;
        self.reversed.resize(padded, 0);
    }

    fn place(&mut self, bytes: &[u8]) {
        self.reversed.extend(bytes.iter().rev());
    }

    fn length(&mut self, items: usize) -> Part {
        self.place(&u32::try_from(items).unwrap_or(u32::MAX).to_le_bytes());
        Part(self.reversed.len())
    }

    fn offset(&mut self, to: Part) {
        self.prepare(4, 0);
        let distance = self.reversed.len() - to.0 + 4;
        self.place(&u32::try_from(distance).unwrap_or(u32::MAX).to_le_bytes());
    }
}

impl Fields<'_> {
    /// Writes a field of one byte, unless it is 0.
    pub(super) fn u8(&mut self, slot: usize, number: u8) {
        if number != 0 {
            self.builder.prepare(1, 0);
            self.builder.place(&[number]);
            self.fill(slot);
        }
    }

    /// Writes a field of eight bytes, unless it is 0.
    pub(super) fn u64(&mut self, slot: usize, number: u64) {
        if number != 0 {
            self.builder.prepare(8, 0);
            self.builder.place(&number.to_le_bytes());
            self.fill(slot);
        }
    }

    /// Writes where a part is.
    pub(super) fn part(&mut self, slot: usize, part: Part) {
        self.builder.offset(part);
        self.fill(slot);
    }

    /// Completes the table.
    pub(super) fn finish(self) -> Part {
        let Self { builder, end, slots } = self;
        builder.prepare(4, 0);
        builder.place(&[0; 4]);
        let table = builder.reversed.len();
        for slot in slots.iter().rev() {
            let offset = if *slot == 0 { 0 } else { table - slot };
            builder.place(&u16::try_from(offset).unwrap_or(u16::MAX).to_le_bytes());
        }
        for size in [table - end, 2 * (slots.len() + 2)] {
            builder.place(&u16::try_from(size).unwrap_or(u16::MAX).to_le_bytes());
        }
        let to_fields = builder.reversed.len() - table;
        let to_fields = u32::try_from(to_fields).unwrap_or(u32::MAX).to_be_bytes();
        builder.reversed[table - 4..table].copy_from_slice(&to_fields);
        Part(table)
    }

    fn fill(&mut self, slot: usize) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] = self.builder.reversed.len();
    }
}
