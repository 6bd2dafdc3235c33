//! The head of a GGUF file: metadata and where each tensor lies.
//!
//! The bytes are a stranger's. Nothing is allocated for a count before the file is known to be long enough to
//! hold that many, nesting is refused, and every offset is checked here, so that what comes after may trust
//! it. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::BTreeMap;
use std::io::Read;

use super::encoding::Encoding;

/// A metadata value. Numbers are kept in the widest type of their kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Any floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text; broken UTF-8 is replaced.
    Text(String),
    /// An array of anything but arrays.
    Array(Vec<Value>),
}

/// Where a tensor lies and how it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TensorPlace {
    /// Outermost dimension first (the file has them the other way round).
    pub shape: Vec<usize>,
    /// How its numbers are written.
    pub encoding: Encoding,
    /// First byte, counted from the start of the file.
    pub start: u64,
    /// Bytes.
    pub length: usize,
}

/// What the head of a file says. Every tensor lies within the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// By key, such as `llama.block_count`.
    pub metadata: BTreeMap<String, Value>,
    /// By name, such as `blk.0.attn_q.weight`.
    pub tensors: BTreeMap<String, TensorPlace>,
}

/// What is wrong with a file's head.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The bytes are another format.
    #[error("it does not begin with GGUF")]
    Magic,
    /// A version this reader does not know.
    #[error("GGUF version {0}; versions 2 and 3 can be read")]
    Version(u32),
    /// A length or count that the rest of the file cannot hold, or the file ends early.
    #[error("it ends before the {0} it announces")]
    Truncated(&'static str),
    /// A value type the format does not define, or an array of arrays.
    #[error("metadata {key} has the unknown type {kind}")]
    ValueType {
        /// The metadata key.
        key: String,
        /// The type's number.
        kind: u32,
    },
    /// A tensor encoding this reader does not know.
    #[error("tensor {tensor} is written in encoding {kind}, which this worker does not read")]
    Encoding {
        /// The tensor.
        tensor: String,
        /// The encoding's number in ggml.
        kind: u32,
    },
    /// A tensor whose shape or place makes no sense.
    #[error("tensor {0} has an impossible shape or lies outside of the file")]
    Tensor(String),
    /// An alignment that is not a small power of two.
    #[error("alignment {0} is not a power of two")]
    Alignment(u64),
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Reads the head of a file of `length` bytes.
///
/// # Errors
/// On anything that is not a well-formed head of a file of that length. Never panics.
pub fn parse(source: impl Read, length: u64) -> Result<Header, HeaderError> {
    let mut reader = Reader { source, read: 0, length };
    if reader.bytes::<4>("magic")? != *b"GGUF" {
        return Err(HeaderError::Magic);
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(HeaderError::Version(version));
    }
    let (tensors, entries) = (reader.u64()?, reader.u64()?);
    let mut header = Header::default();
    for _ in 0..entries {
        let key = reader.text("metadata")?;
        let kind = reader.u32()?;
        let value = reader.value(&key, kind)?;
        header.metadata.insert(key, value);
    }
    let mut places = Vec::new();
    for _ in 0..tensors {
        places.push(reader.tensor()?);
    }
    let data = reader.data_start(&header)?;
    for (name, mut place) in places {
        place.start = place.start.checked_add(data).ok_or_else(|| HeaderError::Tensor(name.clone()))?;
        if place.start.checked_add(place.length as u64).is_none_or(|end| end > length) {
            return Err(HeaderError::Tensor(name));
        }
        header.tensors.insert(name, place);
    }
    Ok(header)
}

struct Reader<R> {
    source: R,
    read: u64,
    length: u64,
}

impl<R: Read> Reader<R> {
    /// Refuses to go on unless `count` things of at least `size` bytes can still follow.
    fn expect(&self, count: u64, size: u64, what: &'static str) -> Result<usize, HeaderError> {
        let needed = count.checked_mul(size);
        if needed.is_none_or(|needed| needed > self.length - self.read) {
            return Err(HeaderError::Truncated(what));
        }
        usize::try_from(count).map_err(|_| HeaderError::Truncated(what))
    }

    fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> Result<(), HeaderError> {
        self.expect(bytes.len() as u64, 1, what)?;
        self.source.read_exact(bytes)?;
        self.read += bytes.len() as u64;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, HeaderError> {
        Ok(u32::from_le_bytes(self.bytes("number")?))
    }

    fn u64(&mut self) -> Result<u64, HeaderError> {
        Ok(u64::from_le_bytes(self.bytes("number")?))
    }

    fn text(&mut self, what: &'static str) -> Result<String, HeaderError> {
        let length = self.u64()?;
        let mut bytes = vec![0; self.expect(length, 1, what)?];
        self.fill(&mut bytes, what)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, HeaderError> {
        const ARRAY: u32 = 9;
        if kind != ARRAY {
            return self.scalar(key, kind);
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        // Any element takes at least a byte; a value in memory is 32 times that, the worst of what a file can
        // cost us.
        let count = self.expect(count, 1, "array")?;
        (0..count).map(|_| self.scalar(key, kind)).collect()
    }

    fn scalar(&mut self, key: &str, kind: u32) -> Result<Value, HeaderError> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.bytes("number")?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.bytes("number")?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.bytes("number")?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.bytes("number")?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.bytes("number")?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes("number")?).into()),
            7 => Value::Bool(self.bytes::<1>("truth value")? != [0]),
            8 => Value::Text(self.text("text")?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes("number")?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes("number")?)),
            kind => return Err(HeaderError::ValueType { key: key.to_owned(), kind }),
        })
    }

    /// A tensor's name and place, counted from the start of the data.
    fn tensor(&mut self) -> Result<(String, TensorPlace), HeaderError> {
        /// The format's own limit.
        const DIMENSIONS: u32 = 4;
        let name = self.text("tensor")?;
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS {
            return Err(HeaderError::Tensor(name));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).map_err(|_| HeaderError::Tensor(name.clone()))?);
        }
        let kind = self.u32()?;
        let Some(encoding) = Encoding::of(kind) else {
            return Err(HeaderError::Encoding { tensor: name, kind });
        };
        // Rows are the unit of quantisation: a row is whole blocks.
        let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let row = shape.first().copied().unwrap_or(1);
        let (numbers, bytes) = encoding.block();
        let length = elements
            .filter(|_| row.is_multiple_of(numbers))
            .and_then(|elements| (elements / numbers).checked_mul(bytes))
            .ok_or_else(|| HeaderError::Tensor(name.clone()))?;
        shape.reverse();
        Ok((name, TensorPlace { shape, encoding, start: self.u64()?, length }))
    }

    /// Where tensor data begins: after the head, on the next boundary.
    fn data_start(&self, header: &Header) -> Result<u64, HeaderError> {
        let alignment = match header.metadata.get("general.alignment") {
            Some(Value::Unsigned(alignment)) => *alignment,
            _ => 32,
        };
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(HeaderError::Alignment(alignment));
        }
        self.read.checked_next_multiple_of(alignment).ok_or(HeaderError::Alignment(alignment))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self::Array(values.into_iter().collect())
    }
}
