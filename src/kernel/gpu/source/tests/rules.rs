//! Rules of compilers that tests cannot run.

use naga::valid::FunctionInfo;
use naga::{
    BinaryOperator, Block, Expression, Function, Handle, Literal, LocalVariable, Module,
    ScalarKind, Statement, TypeInner, UnaryOperator,
};

use super::{module, stages};

/// Whether an expression is a vector, a matrix or a number of floats.
fn is_float(module: &Module, info: &FunctionInfo, expression: Handle<Expression>) -> bool {
    let kind = info[expression].ty.inner_with(&module.types).scalar_kind();
    kind == Some(ScalarKind::Float)
}

/// Comparisons that are true or false of NaN alone: compilers that take for granted that no float is
/// NaN turn them into others.
fn nan_by_comparison(module: &Module, function: &Function, info: &FunctionInfo) -> Vec<String> {
    let mut faults = Vec::new();
    for (_, expression) in function.expressions.iter() {
        match *expression {
            Expression::Unary {
                op: UnaryOperator::LogicalNot,
                expr,
            } => {
                if let Expression::Binary { left, op, .. } = function.expressions[expr] {
                    let ordered = matches!(
                        op,
                        BinaryOperator::Less
                            | BinaryOperator::LessEqual
                            | BinaryOperator::Greater
                            | BinaryOperator::GreaterEqual
                    );
                    if ordered && is_float(module, info, left) {
                        faults.push(format!(
                            "{} negates a comparison of floats: NaN is found by its bits \
                             (shared/nan.wgsl)",
                            function.name.as_deref().unwrap_or("the entry point")
                        ));
                    }
                }
            }
            Expression::Binary { left, op, right } => {
                let same = left == right
                    || match (&function.expressions[left], &function.expressions[right]) {
                        (Expression::Load { pointer: a }, Expression::Load { pointer: b }) => {
                            a == b
                        }
                        _ => false,
                    };
                let equality = matches!(op, BinaryOperator::Equal | BinaryOperator::NotEqual);
                if same && equality && is_float(module, info, left) {
                    faults.push(format!(
                        "{} compares a float with itself: NaN is found by its bits \
                         (shared/nan.wgsl)",
                        function.name.as_deref().unwrap_or("the entry point")
                    ));
                }
            }
            _ => {}
        }
    }
    faults
}

/// The counter of a loop that runs as long as the counter is below a constant.
fn constant_counter(function: &Function, body: &Block) -> Option<Handle<LocalVariable>> {
    let condition = body.iter().find_map(|statement| match statement {
        Statement::If {
            condition, reject, ..
        } if matches!(reject.last(), Some(Statement::Break)) => Some(*condition),
        _ => None,
    })?;
    let Expression::Binary {
        op: BinaryOperator::Less,
        left,
        right,
    } = function.expressions[condition]
    else {
        return None;
    };
    let constant = matches!(
        function.expressions[right],
        Expression::Literal(Literal::U32(_)) | Expression::Constant(_)
    );
    match function.expressions[left] {
        Expression::Load { pointer } if constant => local(function, pointer),
        _ => None,
    }
}

fn local(function: &Function, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
    match function.expressions[pointer] {
        Expression::LocalVariable(variable) => Some(variable),
        _ => None,
    }
}

/// Stores to a value of a vector or a column of a matrix by an index that runs. FXC refuses them
/// (X3511), but for values of vectors in loops over a constant range, which FXC unrolls; `counters`
/// are those of the loops around.
fn running_stores(
    (module, function, info): (&Module, &Function, &FunctionInfo),
    block: &Block,
    counters: &mut Vec<Handle<LocalVariable>>,
    faults: &mut Vec<String>,
) {
    let parts = (module, function, info);
    for statement in block.iter() {
        match statement {
            Statement::Store { pointer, .. } => {
                let Expression::Access { base, index } = function.expressions[*pointer] else {
                    continue;
                };
                let target = match *info[base].ty.inner_with(&module.types) {
                    TypeInner::Pointer { base, .. } => &module.types[base].inner,
                    ref other => other,
                };
                if !matches!(target, TypeInner::Vector { .. } | TypeInner::Matrix { .. }) {
                    continue;
                }
                let vector = matches!(target, TypeInner::Vector { .. });
                let unrolled = match function.expressions[index] {
                    Expression::Load { pointer } if vector => {
                        local(function, pointer).is_some_and(|local| counters.contains(&local))
                    }
                    _ => false,
                };
                if !unrolled {
                    faults.push(format!(
                        "{} stores to a vector or matrix by a running index: build it from its \
                         parts",
                        function.name.as_deref().unwrap_or("the entry point")
                    ));
                }
            }
            Statement::Block(block) => running_stores(parts, block, counters, faults),
            Statement::If { accept, reject, .. } => {
                running_stores(parts, accept, counters, faults);
                running_stores(parts, reject, counters, faults);
            }
            Statement::Switch { cases, .. } => {
                for case in cases {
                    running_stores(parts, &case.body, counters, faults);
                }
            }
            Statement::Loop {
                body, continuing, ..
            } => {
                let counter = constant_counter(function, body);
                counters.extend(counter);
                running_stores(parts, body, counters, faults);
                running_stores(parts, continuing, counters, faults);
                if counter.is_some() {
                    counters.pop();
                }
            }
            _ => {}
        }
    }
}

fn broken_rules(module: &Module, info: &naga::valid::ModuleInfo) -> Vec<String> {
    let mut faults = Vec::new();
    let functions = module.functions.iter();
    let functions = functions.map(|(handle, function)| (function, &info[handle]));
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.map(|(i, entry)| (&entry.function, info.get_entry_point(i)));
    for (function, info) in functions.chain(entries) {
        faults.extend(nan_by_comparison(module, function, info));
        let parts = (module, function, info);
        running_stores(parts, &function.body, &mut Vec::new(), &mut faults);
    }
    faults
}

#[test]
fn every_shader_keeps_the_rules() {
    let mut faults = Vec::new();
    for stage in stages() {
        let (module, info) = module(stage);
        let broken = broken_rules(&module, &info);
        faults.extend(
            broken
                .into_iter()
                .map(|fault| format!("{stage:?}: {fault}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn broken_rules_are_found() {
    let of = |body: &str| {
        let code = format!(
            "@group(0) @binding(0) var<storage, read_write> data: array<f32>;\n\
             @compute @workgroup_size(1) fn main() {{ {body} }}"
        );
        let module = naga::front::wgsl::parse_str(&code).expect("valid");
        let info = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::empty(),
        )
        .validate(&module)
        .expect("valid");
        broken_rules(&module, &info)
    };
    assert!(of("if !(data[0] <= 0.0) { data[1] = 1.0; }")[0].contains("negates a comparison"));
    assert!(of("let x = data[0]; if x != x { data[1] = 1.0; }")[0].contains("with itself"));
    let dynamic = "var v = vec4f(); for (var i = 0u; i < u32(data[1]); i++) { v[i] = 1.0; } \
                   data[0] = v.x;";
    assert!(of(dynamic)[0].contains("running index"));
    let joined = "var v = vec4f(); for (var i = 0u; i < 4u && data[i] > 0.0; i++) { v[i] = 1.0; } \
                  data[0] = v.x;";
    assert!(of(joined)[0].contains("running index"));
    let column =
        "var m = mat4x4f(); for (var i = 0u; i < 4u; i++) { m[i] *= 2.0; } data[0] = m[0].x;";
    assert!(of(column)[0].contains("running index"));
    let unrolled = "var v = vec4f(); for (var i = 0u; i < 4u; i++) { v[i] = 1.0; } data[0] = v.x;";
    assert_eq!(of(unrolled), [""; 0]);
    assert_eq!(of("if data[0] > 0.0 { data[1] = 1.0; }"), [""; 0]);
}
