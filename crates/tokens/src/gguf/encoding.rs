//! How ggml writes a tensor's numbers, as far as the head of a file needs it: which encodings there are and how long their blocks are.

/// How a tensor's numbers are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
    /// 32 numbers of four bits and a scale.
    Q4_0,
    /// 32 numbers of four bits, a scale and an offset.
    Q4_1,
    /// 32 numbers of five bits and a scale.
    Q5_0,
    /// 32 numbers of five bits, a scale and an offset.
    Q5_1,
    /// 32 numbers of eight bits and a scale.
    Q8_0,
    /// 256 numbers of six bits, sixteen scales and a scale of those.
    Q6K,
}

impl Encoding {
    /// The encoding of this number in ggml.
    pub fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Numbers and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q6K => (256, 210),
        }
    }
}
