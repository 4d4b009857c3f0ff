//! Rows of a part as bytes: number of rows, number of facts, flags (1 relations, 2 numbers of facts are there), then the
//! count of each row, the other node of each fact, and relations and numbers of the facts, if there; 4 bytes each.

use bytes::{BufMut, Bytes, BytesMut};

use crate::neighborhood::{DrawnRows, SampleError};

const RELATIONS: u32 = 1;
const NUMBERS: u32 = 2;

/// Writes rows.
pub(super) fn encode(rows: &DrawnRows) -> Bytes {
    let arrays = [&rows.counts, &rows.others, &rows.relations, &rows.facts];
    let words: usize = arrays.iter().map(|array| array.len()).sum();
    let flag = |of: &[u32], flag| if of.is_empty() { 0 } else { flag };
    let flags = flag(&rows.relations, RELATIONS) | flag(&rows.facts, NUMBERS);
    let mut bytes = BytesMut::with_capacity(4 * (3 + words));
    for number in [rows.counts.len() as u32, rows.others.len() as u32, flags] {
        bytes.put_u32_le(number);
    }
    for array in arrays {
        bytes.put_slice(bytemuck::cast_slice(array));
    }
    bytes.freeze()
}

/// Numbers of 4 bytes each.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect()
}

/// Reads rows.
///
/// # Errors
/// If the length does not fit the numbers of rows and facts.
pub(super) fn decode(bytes: &[u8]) -> Result<DrawnRows, SampleError> {
    let words = bytes.len() / 4;
    let fault = || SampleError::Rows(format!("{} bytes, which are no rows", bytes.len()));
    let head = numbers(bytes.get(..12).ok_or_else(fault)?);
    let [rows, facts, flags] = head[..] else {
        return Err(fault());
    };
    let has = |flag: u32| if flags & flag == 0 { 0 } else { facts as usize };
    let lengths = [rows as usize, facts as usize, has(RELATIONS), has(NUMBERS)];
    let needed = lengths
        .iter()
        .fold(3usize, |sum, &length| sum.saturating_add(length));
    if needed != words || !bytes.len().is_multiple_of(4) || flags > (RELATIONS | NUMBERS) {
        return Err(fault());
    }
    let mut rest = &bytes[12..];
    let mut array = |length: usize| {
        let (array, others) = rest.split_at(4 * length);
        rest = others;
        numbers(array)
    };
    Ok(DrawnRows {
        counts: array(lengths[0]),
        others: array(lengths[1]),
        relations: array(lengths[2]),
        facts: array(lengths[3]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_cut_ones_are_refused() {
        let rows = DrawnRows {
            counts: vec![2, 0, 1],
            others: vec![7, 8, 9],
            relations: vec![1, 1 << 31, 2],
            facts: vec![5, 4, 3],
        };
        let plain = DrawnRows {
            relations: Vec::new(),
            facts: Vec::new(),
            ..rows.clone()
        };
        for rows in [rows, plain, DrawnRows::default()] {
            let bytes = encode(&rows);
            assert_eq!(decode(&bytes), Ok(rows));
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "{end} bytes");
            }
        }
        let many = [0xff; 12];
        assert!(decode(&many).is_err());
    }
}
