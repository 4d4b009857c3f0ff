// What a similarity compares at a time: complex numbers.
struct Cell {
    x: V,
    y: V,
}

fn add(a: Cell, b: Cell) -> Cell {
    return Cell(a.x + b.x, a.y + b.y);
}
