// What a similarity compares at a time: values that do not depend on each other.
alias Cell = V;

fn add(a: Cell, b: Cell) -> Cell {
    return a + b;
}
