//! The files of a model: in a directory or inside this binary.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::LoadError;

/// Where a model's files are.
#[derive(Clone, Debug)]
pub enum Files {
    /// Compiled in: name and content.
    Embedded(&'static [(&'static str, &'static [u8])]),
    /// In a directory.
    Directory(PathBuf),
}

impl Files {
    /// What to call the place in an error.
    pub fn place(&self) -> String {
        match self {
            Self::Embedded(_) => "the embedded model".to_owned(),
            Self::Directory(path) => path.display().to_string(),
        }
    }

    /// A file, if it is there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn open(&self, name: &str) -> Result<Option<Blob>, LoadError> {
        match self {
            Self::Embedded(files) => Ok(files.iter().find(|(file, _)| *file == name).map(|(file, bytes)| {
                Blob { name: format!("embedded {file}"), content: Content::Static(bytes) }
            })),
            Self::Directory(path) => match Blob::open(&path.join(name)) {
                Ok(blob) => Ok(Some(blob)),
                Err(LoadError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// The whole of a small file, if it is there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(&self, name: &str) -> Result<Option<(String, Vec<u8>)>, LoadError> {
        self.open(name)?.map(|blob| Ok((blob.name.clone(), blob.read_all()?.into_owned()))).transpose()
    }

    /// The whole of a small file that must be there, with its full name for errors.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn need(&self, file: &'static str) -> Result<(String, Vec<u8>), LoadError> {
        self.read(file)?.ok_or_else(|| LoadError::MissingFile { place: self.place(), file })
    }
}

/// An open file, read piecewise.
#[derive(Debug)]
pub struct Blob {
    name: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Static(&'static [u8]),
    File { file: File, length: u64 },
}

impl Blob {
    /// Opens a file on disk.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) => Ok(Self { name, content: Content::File { file, length } }),
            Err(source) => Err(LoadError::Read { file: name, source }),
        }
    }

    /// What to call it in an error.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        match &self.content {
            Content::Static(bytes) => bytes.len() as u64,
            Content::File { length, .. } => *length,
        }
    }

    /// `length` bytes from `start` on. Never allocates for more than the file has.
    ///
    /// # Errors
    /// If the file has not so many bytes, or cannot be read.
    pub fn read(&self, start: u64, length: usize) -> Result<Cow<'static, [u8]>, LoadError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.length());
        if end.is_none() {
            return Err(LoadError::malformed(&self.name, "it ends before the data it announces"));
        }
        match &self.content {
            Content::Static(bytes) => {
                let start = usize::try_from(start).expect("within a slice");
                Ok(Cow::Borrowed(&bytes[start..][..length]))
            }
            Content::File { file, .. } => {
                let mut file = file;
                let mut bytes = vec![0; length];
                file.seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|source| LoadError::Read { file: self.name.clone(), source })?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The content from its start, to be read piece by piece.
    ///
    /// # Errors
    /// If the file cannot be rewound.
    pub fn reader(&self) -> Result<Box<dyn Read + '_>, LoadError> {
        match &self.content {
            Content::Static(bytes) => Ok(Box::new(*bytes)),
            Content::File { file, .. } => {
                let mut file = file;
                let rewound = file.rewind();
                rewound.map_err(|source| LoadError::Read { file: self.name.clone(), source })?;
                Ok(Box::new(file))
            }
        }
    }

    /// Everything.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_all(&self) -> Result<Cow<'static, [u8]>, LoadError> {
        let length = usize::try_from(self.length())
            .map_err(|_| LoadError::malformed(&self.name, "larger than this machine's memory"))?;
        self.read(0, length)
    }
}
