//! Published datasets by name: found on this machine, or downloaded once and kept.

use std::fs;
use std::io;
#[cfg(feature = "download")]
use std::io::Read;
use std::path::{Path, PathBuf};
#[cfg(feature = "download")]
use std::time::Duration;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::source::{self, Source, SourceFile, file_name, io_error};
use super::{DatasetError, PublicError, SourceError, Split};

/// Published dataset, with checksums of its content.
#[derive(Debug)]
pub struct PublicDataset {
    /// Name of the dataset, in lower case.
    pub name: &'static str,
    /// Description of the subject.
    pub description: &'static str,
    /// Address of the download: an archive of the three splits.
    pub url: &'static str,
    /// SHA-256 of the train, valid and test text with `\n` line endings, in hexadecimal. A checksum
    /// of the text is independent of how a copy is packed.
    pub sha256: [&'static str; 3],
}

/// Address of an archive of Dettmers et al. 2018, at the commit whose content has the digests
/// below.
macro_rules! archive {
    ($file:literal) => {
        concat!(
            "https://raw.githubusercontent.com/TimDettmers/ConvE/",
            "f3c0eb286025410fa5b4c04696c918264163d0ca/",
            $file
        )
    };
}

/// Published datasets known by name.
pub static PUBLIC_DATASETS: [PublicDataset; 5] = [
    PublicDataset {
        name: "fb15k-237",
        description: "Freebase facts about people, places, films; no inverse relations \
                      (Toutanova & Chen 2015)",
        url: archive!("FB15k-237.tar.gz"),
        sha256: [
            "61099230e4439f90885ca9767739e31e8e32f54736fa1c35952b27997bc7c08a",
            "749cbe9d923bac7b9354da5614ecfed2e0220256d442c3e04a6b303db1f273d9",
            "e2e35e8e6113de220140b6f44dc71a5207b0fc6872d575e874aefe13259b655b",
        ],
    },
    PublicDataset {
        name: "wn18rr",
        description: "WordNet: how the senses of English words relate (Dettmers et al. 2018)",
        url: archive!("WN18RR.tar.gz"),
        sha256: [
            "038612e783c215ee5f3ca9fbfca27b8d0739be1028fe4ee7c174aecf0b83d5df",
            "453ce7202afa58094a04d2b1560ee2b02660f1c260b32ce6651c8ccedd1028ab",
            "0383bceaaa1096cf3c03ec021ed0048068e2355dbfc0239b292cefdac821cec5",
        ],
    },
    PublicDataset {
        name: "umls",
        description: "Unified Medical Language System: how medical concepts relate",
        url: archive!("umls.tar.gz"),
        sha256: [
            "873ef4925516b83e7f6f8cc02b4be51d848828710a7f65a956f0ac4a9e452f35",
            "025c98f8a4891e2a6582ec5b40ee0d904031edad9c52554522f4b7904820c98e",
            "a7eb529a3d2810fcc96341ccc97c625a5e202f8389673aa6bd317eeebbb79014",
        ],
    },
    PublicDataset {
        name: "kinship",
        description: "Kinship terms of the Alyawarra of Central Australia",
        url: archive!("kinship.tar.gz"),
        sha256: [
            "738612111a6acf0e39662bde24c7e72a4d1edf20931beea077da367dda689731",
            "c56f8630a583178b1e569f11a64aa535ae1ce0b0912d8b1e24716be2b37f04da",
            "05e5733265761d55be9c05bfaff5a8d0808df46f9c1e9d66cc3f2fe114e43d88",
        ],
    },
    PublicDataset {
        name: "nations",
        description: "How 14 countries dealt with each other, 1950 to 1965",
        url: archive!("nations.tar.gz"),
        sha256: [
            "0830fa9da8e5bba2ccdaa45b7bdc9130451ba66b09ff2708f35fccaf82473e57",
            "2b337a62e51a2f45c283eac98a70d21b7e0e102136be1539b2a52c652a7b0530",
            "3971085165b47b6aeaec68058c6d8d98b3005e929db81268410b95ae4db770ab",
        ],
    },
];

/// Longest download, in bytes. The published archives are far smaller; a longer response is not one
/// of them.
#[cfg(feature = "download")]
const LONGEST_DOWNLOAD: u64 = 64 << 20;

/// Directories to search for datasets, in this order.
#[derive(Clone, Debug, Default)]
pub(super) struct DataDirectories {
    /// Directory that `SHARDLOOM_DATA` names.
    pub data: Option<PathBuf>,
    /// Directory of downloads.
    pub cache: Option<PathBuf>,
}

impl DataDirectories {
    pub fn of_this_user() -> Self {
        let data = std::env::var_os("SHARDLOOM_DATA").filter(|value| !value.is_empty());
        let cache = etcetera::choose_base_strategy()
            .ok()
            .map(|base| base.cache_dir());
        Self {
            data: data.map(PathBuf::from),
            cache: cache.map(|cache| cache.join("shardloom").join("datasets")),
        }
    }
}

impl PublicDataset {
    /// Returns the dataset with a name, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        PUBLIC_DATASETS
            .iter()
            .find(|dataset| dataset.name.eq_ignore_ascii_case(name))
    }

    /// Path of the dataset on this machine, in `$SHARDLOOM_DATA` or among the downloads, if it is
    /// there.
    ///
    /// # Errors
    /// [`SourceError::Io`] if `SHARDLOOM_DATA` names a directory that cannot be read.
    pub fn local(&self) -> Result<Option<PathBuf>, DatasetError> {
        self.local_in(&DataDirectories::of_this_user())
    }

    fn local_in(&self, directories: &DataDirectories) -> Result<Option<PathBuf>, DatasetError> {
        if let Some(data) = &directories.data
            && let Some(path) = self.search(data).map_err(io_error(data))?
        {
            return Ok(Some(path));
        }
        // A cache that does not exist yet counts as empty.
        Ok(directories
            .cache
            .as_ref()
            .and_then(|cache| self.search(cache).ok().flatten()))
    }

    /// Finds a directory or archive with the name of the dataset.
    fn search(&self, directory: &Path) -> io::Result<Option<PathBuf>> {
        let mut matches = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = file_name(&path).to_lowercase();
            match name.strip_prefix(self.name) {
                Some("") if path.is_dir() => matches.push(path),
                Some(".tar.gz" | ".tgz" | ".tar" | ".zip") => matches.push(path),
                _ => {}
            }
        }
        Ok(matches.into_iter().min())
    }

    /// Opens the three splits. Downloads them if they are not on this machine, and always checks
    /// them.
    pub(super) fn open(
        &self,
        directories: &DataDirectories,
    ) -> Result<[SourceFile; 3], DatasetError> {
        let path = match self.local_in(directories)? {
            Some(path) => path,
            None => match &directories.cache {
                Some(cache) => self.download(cache)?,
                None => return Err(PublicError::NoCache { name: self.name }.into()),
            },
        };
        self.checked(&path, None)
    }

    /// Returns the splits at `path` if they are the published ones. Errors name `alias` in place of
    /// `path`.
    fn checked(&self, path: &Path, alias: Option<&str>) -> Result<[SourceFile; 3], DatasetError> {
        let shown = || path.display().to_string();
        let files = match source::open(path)? {
            Source::Splits([Some(train), Some(valid), Some(test)]) => [train, valid, test],
            Source::Splits(_) => {
                return Err(SourceError::MissingSplit {
                    path: shown(),
                    split: Split::Valid,
                    others: Vec::new(),
                }
                .into());
            }
            Source::Whole(_) | Source::OpenKe { .. } => {
                return Err(SourceError::NeedsSplit { file: shown() }.into());
            }
        };
        for (file, expected) in files.iter().zip(self.sha256) {
            let found = digest(&file.read()?);
            if found != expected {
                let label = || file.label.clone();
                let file = alias.map_or_else(label, |alias| {
                    let member = file.label.rsplit(':').next().unwrap_or_default();
                    format!("{alias}:{member}")
                });
                let name = self.name;
                return Err(PublicError::Checksum {
                    name,
                    file,
                    expected,
                    found,
                }
                .into());
            }
        }
        Ok(files)
    }

    /// Downloads the published archive into `directory`, atomically and only if its content is
    /// right.
    fn download(&self, directory: &Path) -> Result<PathBuf, DatasetError> {
        let failed = |reason: String| PublicError::Download {
            name: self.name,
            url: self.url,
            reason,
        };
        let bytes = fetch(self.url).map_err(failed)?;
        fs::create_dir_all(directory).map_err(io_error(directory))?;
        let aside = tempfile::Builder::new()
            .prefix(".download-")
            .suffix(".tar.gz")
            .tempfile_in(directory)
            .map_err(io_error(directory))?;
        fs::write(aside.path(), bytes).map_err(io_error(aside.path()))?;
        aside.as_file().sync_all().map_err(io_error(aside.path()))?;
        self.checked(aside.path(), Some(self.url))
            .map_err(|error| match error {
                DatasetError::Source(error) => failed(error.to_string()).into(),
                error => error,
            })?;
        let path = directory.join(format!("{}.tar.gz", self.name));
        aside
            .persist(&path)
            .map_err(|error| io_error(&path)(error.error))?;
        Ok(path)
    }
}

/// Returns the SHA-256, in hexadecimal, of the text with each `\r\n` taken as `\n`.
fn digest(text: &[u8]) -> String {
    let mut hasher = Sha256::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                hasher.update(line);
                hasher.update(b"\n");
            }
            None => hasher.update(line),
        }
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Downloads the bytes at an address. The error says why that failed.
#[cfg(feature = "download")]
fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_global(Some(Duration::from_secs(300)))
        .user_agent(concat!("shardloom/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let answer = agent.get(url).call();
    let mut answer = answer.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut body = answer.body_mut().as_reader().take(LONGEST_DOWNLOAD);
    let read = body.read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Fails, since this build cannot download.
#[cfg(not(feature = "download"))]
fn fetch(_: &str) -> Result<Vec<u8>, String> {
    Err("this build was made without the feature `download`".to_owned())
}

#[cfg(test)]
mod tests;
