//! MessagePack, as far as events need it: heads of values one after the other, borrowed from the bytes.
//!
//! A library's value tree would allocate for every number of every token list; this reads a token in one or two nanoseconds and copies
//! none but the numbers. Whatever the bytes, nothing here panics, recurses or reserves more than the bytes could hold.

use super::error::{Problem, WireError};

/// A place in a message, and the field that is being read there, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    field: &'static str,
}

/// The beginning of a value; lists and maps are followed by as many values, or pairs of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head<'a> {
    Nil,
    Bool,
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Array(usize),
    Map(usize),
    Extension,
}

impl Head<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool => "a boolean",
            Self::Unsigned(_) => "a number",
            Self::Negative(_) => "a number below zero",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "a list",
            Self::Map(_) => "a map",
            Self::Extension => "an extension type",
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, field: "the batch" }
    }

    /// From here on, errors are about this field.
    pub(super) fn enter(&mut self, field: &'static str) {
        self.field = field;
    }

    /// What lies between an earlier place in the same bytes and this one.
    pub(super) fn since(&self, start: &Self) -> &'a [u8] {
        self.bytes.get(start.at..self.at).unwrap_or_default()
    }

    pub(super) fn error(&self, problem: Problem) -> WireError {
        WireError { at: self.at, field: self.field, problem }
    }

    /// `found` where something else belongs.
    pub(super) fn wanted(&self, wanted: &'static str, found: Head<'_>) -> WireError {
        self.error(Problem::Wanted { wanted, found: found.name() })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.error(Problem::CutShort))?;
        self.at += length;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let taken = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let taken = *taken.ok_or_else(|| self.error(Problem::CutShort))?;
        self.at += N;
        Ok(taken)
    }

    /// A length of one, two or four bytes, as the two low bits of the marker say.
    fn length(&mut self, width: u8) -> Result<usize, WireError> {
        let length = match width {
            0 => u32::from(u8::from_be_bytes(self.number()?)),
            1 => u32::from(u16::from_be_bytes(self.number()?)),
            _ => u32::from_be_bytes(self.number()?),
        };
        // Where `usize` is narrower, so is memory: the bytes cannot be there.
        usize::try_from(length).map_err(|_| self.error(Problem::CutShort))
    }

    fn signed(&mut self, marker: u8) -> Result<Head<'a>, WireError> {
        let value = match marker {
            0xd0 => i64::from(i8::from_be_bytes(self.number()?)),
            0xd1 => i64::from(i16::from_be_bytes(self.number()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.number()?)),
            _ => i64::from_be_bytes(self.number()?),
        };
        Ok(u64::try_from(value).map_or(Head::Negative(value), Head::Unsigned))
    }

    /// The next value's head. Texts and bytes are taken whole.
    #[inline]
    pub(super) fn head(&mut self) -> Result<Head<'a>, WireError> {
        let [marker] = self.number::<1>()?;
        Ok(match marker {
            0x00..=0x7f => Head::Unsigned(u64::from(marker)),
            0xcc => Head::Unsigned(u64::from(u8::from_be_bytes(self.number()?))),
            0xcd => Head::Unsigned(u64::from(u16::from_be_bytes(self.number()?))),
            0xce => Head::Unsigned(u64::from(u32::from_be_bytes(self.number()?))),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.number()?)),
            0xc0 => Head::Nil,
            _ => return self.rarer(marker),
        })
    }

    fn rarer(&mut self, marker: u8) -> Result<Head<'a>, WireError> {
        Ok(match marker {
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Text(self.take(usize::from(marker & 0x1f))?),
            0xc2 | 0xc3 => Head::Bool,
            0xc4..=0xc6 => {
                let length = self.length(marker - 0xc4)?;
                Head::Bytes(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(marker - 0xc7)?;
                self.take(length.saturating_add(1))?;
                Head::Extension
            }
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Head::Float(f64::from_be_bytes(self.number()?)),
            0xd0..=0xd3 => self.signed(marker)?,
            0xd4..=0xd8 => {
                self.take(1 + (1 << (marker - 0xd4)))?;
                Head::Extension
            }
            0xd9..=0xdb => {
                let length = self.length(marker - 0xd9)?;
                Head::Text(self.take(length)?)
            }
            0xdc | 0xdd => Head::Array(self.length(marker - 0xdc + 1)?),
            0xde | 0xdf => Head::Map(self.length(marker - 0xde + 1)?),
            0xe0..=0xff => Head::Negative(i64::from(marker.cast_signed())),
            _ => return Err(self.error(Problem::NoMarker { marker })),
        })
    }

    /// Goes over one value, whatever it is and however deep.
    pub(super) fn skip(&mut self) -> Result<(), WireError> {
        // Every value takes at least a byte, so this ends with the bytes, whatever lengths they claim.
        let mut pending = 1_usize;
        while pending > 0 {
            pending -= 1;
            match self.head()? {
                Head::Array(length) => pending = pending.saturating_add(length),
                Head::Map(length) => pending = pending.saturating_add(length.saturating_mul(2)),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn array(&mut self) -> Result<usize, WireError> {
        match self.head()? {
            Head::Array(length) => Ok(length),
            other => Err(self.wanted("a list", other)),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        self.optional_text()?.ok_or_else(|| self.wanted("a text", Head::Nil))
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<&'a str>, WireError> {
        match self.head()? {
            Head::Nil => Ok(None),
            Head::Text(text) => match str::from_utf8(text) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.error(Problem::NotUtf8)),
            },
            other => Err(self.wanted("a text", other)),
        }
    }

    pub(super) fn number_u32(&mut self) -> Result<u32, WireError> {
        self.optional_u32()?.ok_or_else(|| self.wanted("a number", Head::Nil))
    }

    pub(super) fn optional_u32(&mut self) -> Result<Option<u32>, WireError> {
        match self.head()? {
            Head::Nil => Ok(None),
            Head::Unsigned(number) => match u32::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.error(Problem::TooLarge { number })),
            },
            other => Err(self.wanted("a number", other)),
        }
    }

    /// Seconds, whole or not.
    pub(super) fn seconds(&mut self) -> Result<f64, WireError> {
        match self.head()? {
            Head::Float(number) => Ok(number),
            // Exact up to 2^53 seconds.
            Head::Unsigned(number) => Ok(number as f64),
            other => Err(self.wanted("a number of seconds", other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_gone_over_whole() {
        let values: [&[u8]; 18] = [
            b"\x05",
            b"\xff",
            b"\xc0",
            b"\xc3",
            b"\xcc\xff",
            b"\xcd\x01\x02",
            b"\xce\0\0\0\x01",
            b"\xd1\xff\xfe",
            b"\xca\0\0\0\0",
            b"\xa2hi",
            b"\xd9\x02hi",
            b"\xc4\x01\0",
            b"\xd4\x01\x02",
            b"\xd8\x010123456789abcdef",
            b"\xc7\x02\x01ab",
            b"\x92\x01\x91\xc0",
            b"\x81\xa1k\x92\x01\x02",
            b"\xdc\0\x01\xc0",
        ];
        for value in values {
            let mut reader = Reader::new(value);
            reader.skip().expect("it is whole");
            assert_eq!(reader.at, value.len(), "{value:x?}");
            for end in 0..value.len() {
                assert!(Reader::new(&value[..end]).skip().is_err(), "{value:x?} cut at {end}");
            }
        }
    }

    #[test]
    fn lengths_that_the_bytes_cannot_hold_are_errors_and_take_no_memory() {
        for value in
            [b"\xdd\xff\xff\xff\xff\x01".as_slice(), b"\xdf\xff\xff\xff\xff\x01", b"\xdb\xff\xff\xff\xff\x01"]
        {
            assert_eq!(Reader::new(value).skip().unwrap_err().problem, Problem::CutShort);
        }
    }

    #[test]
    fn numbers_below_zero_keep_their_sign() {
        let read = |bytes| Reader::new(bytes).head().expect("it is whole");
        assert_eq!(read(b"\xff"), Head::Negative(-1));
        assert_eq!(read(b"\xd3\xff\xff\xff\xff\xff\xff\xff\xfe"), Head::Negative(-2));
        assert_eq!(read(b"\xd3\0\0\0\0\0\0\0\x07"), Head::Unsigned(7));
    }
}
