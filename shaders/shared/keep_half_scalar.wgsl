fn keep(row: u32, k: u32, value: V) {
    let at = word_of(row, k);
    let other = values[at] & (0xffff0000u >> (16u * (k % 2u)));
    values[at] = other | (narrowed(value, row, k) << (16u * (k % 2u)));
}
