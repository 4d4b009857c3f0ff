use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::VocabularyError;

/// Marks a free slot; no name ever gets this id.
const FREE: u32 = u32::MAX;

/// Names and their ids, `0..len()` in order of first appearance.
///
/// All names are in one string, and a hash table of eight bytes a slot points into it, so a
/// vocabulary of millions of names needs little more memory than their text: see
/// [`bytes`](Self::bytes). Clones share all memory until a name is added to one of them.
#[derive(Clone, Default)]
pub struct Vocabulary {
    names: Arc<Names>,
}

#[derive(Clone, Default)]
struct Names {
    text: String,
    /// End of each name in `text`; each name starts at the end of the one before.
    ends: Vec<usize>,
    /// Open addressing with linear probing; the length is a power of two, and at most three
    /// quarters are occupied.
    slots: Vec<Slot>,
}

/// Returns the hash of a name in every vocabulary of this process. Each process has another hash,
/// so that no file can be made whose names all collide.
pub(super) fn hash(name: &str) -> u32 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    xxh3_64_with_seed(name.as_bytes(), *SEED) as u32
}

#[derive(Clone, Copy)]
struct Slot {
    /// Hash of the name: distinguishes most names without reading them, and positions them when the
    /// table grows.
    hash: u32,
    id: u32,
}

impl Vocabulary {
    /// Creates a vocabulary without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a vocabulary with the given names, with ids from 0 in their order.
    ///
    /// # Errors
    /// If a name occurs twice or holds a line break.
    pub fn from_names<I>(names: I) -> Result<Self, VocabularyError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut vocabulary = Self::new();
        for (index, name) in names.into_iter().enumerate() {
            let (name, line) = (name.as_ref(), index + 1);
            if name.contains('\n') {
                let name = name.to_owned();
                return Err(VocabularyError::LineBreak { name, line });
            }
            if vocabulary.intern(name) as usize != index {
                let name = name.to_owned();
                return Err(VocabularyError::Duplicate { name, line });
            }
        }
        Ok(vocabulary)
    }

    /// Returns the id of a name, a new one if the name is new.
    ///
    /// # Panics
    /// Beyond 2³¹ names.
    pub fn intern(&mut self, name: &str) -> u32 {
        self.intern_hashed(name, hash(name))
    }

    /// Like [`intern`](Self::intern), for a name with a known [`hash`].
    pub(super) fn intern_hashed(&mut self, name: &str, hash: u32) -> u32 {
        let names = Arc::make_mut(&mut self.names);
        if 3 * names.slots.len() < 4 * (names.ends.len() + 1) {
            names.grow();
        }
        match names.find(hash, name) {
            Ok(id) => id,
            Err(index) => {
                let id = names.ends.len() as u32;
                names.text.push_str(name);
                names.ends.push(names.text.len());
                names.slots[index] = Slot { hash, id };
                id
            }
        }
    }

    /// Loads the memory that finding names with these hashes reads into the processor's caches, for
    /// all of them at once.
    pub(super) fn touch(&self, hashes: &[u32]) {
        let names = &*self.names;
        let Some(mask) = names.slots.len().checked_sub(1) else {
            return;
        };
        let ids = |hash: &u32| names.slots[*hash as usize & mask].id;
        let ends = |id: u32| names.ends.get(id as usize).copied().unwrap_or(0);
        let first = |end: usize| names.text.as_bytes().get(end.wrapping_sub(1));
        // The reads within a pass do not depend on each other.
        let passes = [
            hashes.iter().map(ids).fold(0, |sum, id| sum ^ id as usize),
            hashes
                .iter()
                .map(ids)
                .map(ends)
                .fold(0, |sum, end| sum ^ end),
            hashes
                .iter()
                .map(ids)
                .map(ends)
                .map(first)
                .fold(0, |sum, byte| sum ^ usize::from(byte.copied().unwrap_or(0))),
        ];
        std::hint::black_box(passes);
    }

    /// Returns the id of a name, if the vocabulary has it.
    pub fn id(&self, name: &str) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        self.names.find(hash(name), name).ok()
    }

    /// Returns the name of an id.
    ///
    /// # Panics
    /// If `id` is not below [`len`](Self::len).
    pub fn name(&self, id: u32) -> &str {
        self.names.name(id)
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.names.ends.len()
    }

    /// Size of the vocabulary, in bytes: the text, eight for the end of each name, and eight for
    /// each slot, with 4/3 to 8/3 slots a name.
    pub fn bytes(&self) -> usize {
        let Names {
            text, ends, slots, ..
        } = &*self.names;
        text.len() + size_of_val(&ends[..]) + size_of_val(&slots[..])
    }

    /// Returns true if the vocabulary has no names.
    pub fn is_empty(&self) -> bool {
        self.names.ends.is_empty()
    }

    /// Names in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len() as u32).map(|id| self.name(id))
    }

    /// Returns the name most similar to `name`, ignoring case, or `None` if no name is similar: for
    /// "did you mean".
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.iter())
    }

    /// Writes the names, one a line, in the order of their ids.
    ///
    /// # Errors
    /// The writer's error, or `InvalidData` for a name with a line break, before any name is
    /// written.
    pub fn write_to(&self, mut writer: impl io::Write) -> io::Result<()> {
        if self.names.text.contains('\n') {
            let reason = "a name holds a line break";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut lines = io::BufWriter::with_capacity(1 << 16, &mut writer);
        for name in self.iter() {
            lines.write_all(name.as_bytes())?;
            lines.write_all(b"\n")?;
        }
        lines.flush()
    }

    /// Reads names written by [`write_to`](Self::write_to).
    ///
    /// # Errors
    /// The reader's error, text that is not UTF-8, or a name that occurs twice.
    pub fn read_from(mut reader: impl io::Read) -> Result<Self, VocabularyError> {
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        // Not `lines()`: a name may end in a carriage return.
        Self::from_names(text.split_terminator('\n'))
    }
}

impl Names {
    fn name(&self, id: u32) -> &str {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.text[start..self.ends[id]]
    }

    /// Returns the id of a name, or the slot for it. The table must have a free slot.
    fn find(&self, hash: u32, name: &str) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            let slot = self.slots[index];
            if slot.id == FREE {
                return Err(index);
            }
            if slot.hash == hash && self.name(slot.id) == name {
                return Ok(slot.id);
            }
            index = (index + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let len = (2 * self.slots.len()).max(16);
        // With more slots, 32 bits of hash could not reach every slot.
        assert!(len <= 1 << 32, "a vocabulary holds at most 2^31 names");
        let free = Slot { hash: 0, id: FREE };
        let old = std::mem::replace(&mut self.slots, vec![free; len]);
        for slot in old.into_iter().filter(|slot| slot.id != FREE) {
            let mut index = slot.hash as usize & (len - 1);
            while self.slots[index].id != FREE {
                index = (index + 1) & (len - 1);
            }
            self.slots[index] = slot;
        }
    }
}

/// Returns the candidate most similar to `name`, ignoring case, if any is similar.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const ALIKE: f64 = 0.8;
    let name = name.to_lowercase();
    let mut best = (ALIKE, None);
    for candidate in candidates {
        let score = strsim::jaro_winkler(&name, &candidate.to_lowercase());
        if score > best.0 {
            best = (score, Some(candidate));
        }
    }
    best.1
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (&self.names, &other.names);
        Arc::ptr_eq(own, other) || own.ends == other.ends && own.text == other.text
    }
}

impl Eq for Vocabulary {}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_first_appearance_and_survive_growth() {
        let mut vocabulary = Vocabulary::new();
        for round in 0..2 {
            for i in 0..10_000 {
                assert_eq!(vocabulary.intern(&format!("n{i}")), i, "round {round}");
            }
        }
        assert_eq!(vocabulary.len(), 10_000);
        assert_eq!(vocabulary.id("n9999"), Some(9999));
        assert_eq!(vocabulary.id("n10000"), None);
        assert_eq!(vocabulary.name(0), "n0");
        assert_eq!(vocabulary.iter().nth(1234), Some("n1234"));
    }

    #[test]
    fn clones_share_until_one_learns() {
        let vocabulary = Vocabulary::from_names(["a", "b"]).unwrap();
        let mut other = vocabulary.clone();
        assert!(Arc::ptr_eq(&vocabulary.names, &other.names));
        assert_eq!(other.intern("c"), 2);
        assert_eq!((vocabulary.len(), vocabulary.id("c")), (2, None));
        assert_ne!(vocabulary, other);
    }

    #[test]
    fn bytes_are_text_ends_and_slots() {
        let vocabulary = Vocabulary::from_names((0..1000).map(|i| format!("e{i:03}"))).unwrap();
        assert_eq!(vocabulary.bytes(), 4 * 1000 + 8 * 1000 + 8 * 2048);
        let slots = vocabulary.names.slots.len();
        assert!(3 * slots >= 4 * 1000, "at most three quarters are taken");
    }

    #[test]
    fn empty_knows_nothing() {
        let vocabulary = Vocabulary::new();
        assert!(vocabulary.is_empty());
        assert_eq!(vocabulary.id("a"), None);
        assert_eq!(vocabulary.nearest("a"), None);
    }

    #[test]
    fn round_trips_through_text() {
        let names = ["", "Ada", "é, \t \"x\"@en", "ends in \r"];
        let vocabulary = Vocabulary::from_names(names).unwrap();
        let mut file = Vec::new();
        vocabulary.write_to(&mut file).unwrap();
        assert_eq!(Vocabulary::read_from(&file[..]).unwrap(), vocabulary);
        assert_eq!(vocabulary.clone(), vocabulary);
    }

    #[test]
    fn refuses_names_it_could_not_give_back() {
        let twice = Vocabulary::from_names(["a", "b", "a"]).unwrap_err();
        assert!(matches!(twice, VocabularyError::Duplicate { line: 3, .. }));
        let broken = Vocabulary::from_names(["a\nb"]).unwrap_err();
        assert!(matches!(broken, VocabularyError::LineBreak { line: 1, .. }));
        let mut vocabulary = Vocabulary::new();
        vocabulary.intern("a\nb");
        let mut file = Vec::new();
        assert!(vocabulary.write_to(&mut file).is_err());
        assert!(file.is_empty());
        assert!(Vocabulary::read_from(&b"\xff"[..]).is_err());
    }

    #[test]
    fn suggests_the_nearest_name() {
        let vocabulary =
            Vocabulary::from_names(["Ada Winter (1802)", "Boris Lake (1830)"]).unwrap();
        assert_eq!(vocabulary.nearest("ada winter"), Some("Ada Winter (1802)"));
        assert_eq!(vocabulary.nearest("Borsi Lake"), Some("Boris Lake (1830)"));
        assert_eq!(vocabulary.nearest("zzz"), None);
    }
}
