//! Columns of head, relation and tail, recognised by the names in a heading.

use crate::dataset::read_options::{Column, Columns};

/// Names of columns of heads and of tails, in lower case; the first pair with both columns counts.
/// Pairs, since one name alone may mean something else: `source` is as often the origin of a fact
/// as the start of an edge.
const ENDS: [(&str, &str); 28] = [
    ("subject", "object"),
    ("subj", "obj"),
    ("sub", "obj"),
    ("head", "tail"),
    ("h", "t"),
    ("source", "target"),
    ("source", "destination"),
    ("source_node", "target_node"),
    ("src", "dst"),
    ("src", "dest"),
    ("src", "tgt"),
    ("src", "trg"),
    ("x_name", "y_name"),
    ("node1", "node2"),
    ("node_1", "node_2"),
    ("node_a", "node_b"),
    ("start", "end"),
    ("start_node", "end_node"),
    ("from", "to"),
    ("from_node", "to_node"),
    ("entity1", "entity2"),
    ("entity_1", "entity_2"),
    ("e1", "e2"),
    ("lhs", "rhs"),
    ("s", "o"),
    ("x", "y"),
    ("entity", "value"),
    ("item", "value"),
];

/// Names of columns of relations.
const RELATIONS: [&str; 22] = [
    "predicate",
    "relation",
    "rel",
    "r",
    "relationship",
    "pred",
    "p",
    "property",
    "edge",
    "edge_label",
    "edge_type",
    "relation_type",
    "relationship_type",
    "interaction",
    "interaction_type",
    "metaedge",
    "label",
    "display_relation",
    "rel_type",
    "link",
    "type",
    "op",
];

/// Endings of a name, the same for head and tail.
const ENDINGS: [&str; 10] = [
    "", "_id", "_name", "_label", "_entity", "_node", "_iri", "_uri", "_curie", "_index",
];

/// Name of a column of weights.
const WEIGHT: &str = "weight";

/// Indices of the columns of head, relation, tail and, if it exists, weight, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FactColumns {
    pub names: [usize; 3],
    pub weight: Option<usize>,
}

/// Normalises a name of a heading: lower case, words joined by `_`, without the marks of comments
/// and variables. Of Neo4j's names, only the role or property is kept: `:START_ID(Person)` becomes
/// `start_id`, and `since:int` becomes `since`.
fn plain(name: &str) -> String {
    let name = name.trim().trim_start_matches(['#', '?']).trim();
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    let name = match name.split_once(':') {
        Some((_, role @ ("START_ID" | "END_ID" | "TYPE"))) => role,
        Some((property, _)) if !property.is_empty() => property,
        _ => name,
    };
    let mut plain = String::with_capacity(name.len());
    let mut lower = false;
    for character in name.chars() {
        if !character.is_alphanumeric() {
            if !plain.is_empty() && !plain.ends_with('_') {
                plain.push('_');
            }
        } else {
            if lower && character.is_uppercase() {
                plain.push('_');
            }
            plain.extend(character.to_lowercase());
        }
        lower = character.is_lowercase();
    }
    plain.truncate(plain.trim_end_matches('_').len());
    plain
}

/// Returns true if a name is `known` with one of the endings.
fn is_called(name: &str, known: &str) -> bool {
    name.strip_prefix(known)
        .is_some_and(|ending| ENDINGS.contains(&ending))
}

/// Returns true if a name is that of a column of heads, tails or relations.
fn is_known(name: &str) -> bool {
    let name = plain(name);
    let ends = ENDS.iter().flat_map(|(head, tail)| [*head, *tail]);
    ends.chain(RELATIONS).any(|known| is_called(&name, known))
}

/// Returns the indices of head, relation and tail that well-known names give, each if it exists.
pub(crate) fn well_known(heading: &[impl AsRef<str>]) -> [Option<usize>; 3] {
    if let Some(fact_columns) = fact_columns(heading) {
        return fact_columns.names.map(Some);
    }
    let names: Vec<String> = heading.iter().map(|name| plain(name.as_ref())).collect();
    let position = |known: &str| names.iter().position(|name| is_called(name, known));
    [
        ENDS.iter().find_map(|(head, _)| position(head)),
        RELATIONS.into_iter().find_map(position),
        ENDS.iter().find_map(|(_, tail)| position(tail)),
    ]
}

/// Returns the columns that well-known names give, if head, relation and tail each have one.
pub(super) fn fact_columns(heading: &[impl AsRef<str>]) -> Option<FactColumns> {
    let names: Vec<String> = heading.iter().map(|name| plain(name.as_ref())).collect();
    let position = |known: &str, ending: &str| {
        names
            .iter()
            .position(|name| name.strip_prefix(known) == Some(ending))
    };
    let endings = || ENDINGS.into_iter();
    let pair = |&(head, tail): &(&str, &str)| {
        endings().find_map(|ending| Some([position(head, ending)?, position(tail, ending)?]))
    };
    // If the heading has no further columns, head and tail may be names of different pairs.
    let mixed = || {
        let of = |known: fn(&(&'static str, &'static str)) -> &'static str| {
            let known = ENDS.iter().map(known);
            let mut all = known.flat_map(|known| endings().map(move |ending| (known, ending)));
            all.find_map(|(known, ending)| position(known, ending))
        };
        (names.len() <= 4)
            .then(|| Some([of(|pair| pair.0)?, of(|pair| pair.1)?]))
            .flatten()
    };
    let [head, tail] = ENDS.iter().find_map(pair).or_else(mixed)?;
    let free = |at: &usize| ![head, tail].contains(at);
    let relation = |known| endings().find_map(|ending| position(known, ending).filter(free));
    let relation = RELATIONS.into_iter().find_map(relation)?;
    Some(FactColumns {
        names: [head, relation, tail],
        weight: position(WEIGHT, ""),
    })
    .filter(|_| head != tail)
}

/// Returns the columns that the user requests.
///
/// # Errors
/// The column that does not exist.
pub(super) fn chosen<'a>(
    columns: &'a Columns,
    heading: &[impl AsRef<str>],
) -> Result<FactColumns, &'a Column> {
    let position = |column: &'a Column| {
        let found = match column {
            Column::Number(number) => Some(number - 1).filter(|&at| at < heading.len()),
            Column::Name(name) => {
                let same = |found: &&str| *found == name;
                let mut all = heading.iter().map(|found| found.as_ref().trim());
                let exact = all.clone().position(|found| same(&found));
                exact.or_else(|| all.position(|found| plain(found) == plain(name)))
            }
        };
        found.ok_or(column)
    };
    let [head, relation, tail] = &columns.names;
    Ok(FactColumns {
        names: [position(head)?, position(relation)?, position(tail)?],
        weight: columns.weight.as_ref().map(position).transpose()?,
    })
}

/// Returns true if the fields at the requested columns are names of columns rather than a fact.
pub(super) fn is_heading(row: &[impl AsRef<str>], fact_columns: FactColumns) -> bool {
    let known = |position: usize| {
        row.get(position)
            .is_some_and(|name| is_known(name.as_ref()))
    };
    fact_columns.names.into_iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_headings_are_recognised() {
        for (heading, names, weight) in [
            ("head,relation,tail", [0, 1, 2], None),
            ("Head,Tail,Relation", [0, 2, 1], None),
            ("h,r,t", [0, 1, 2], None),
            // As pandas writes it, with the numbers of its rows.
            (",head,relation,tail,weight", [1, 2, 3], Some(4)),
            // The edges of KGX, with further columns.
            (
                "id,subject,predicate,object,category,relation",
                [1, 2, 3],
                None,
            ),
            // SSSOM.
            (
                "subject_id,subject_label,predicate_id,object_id,object_label,confidence",
                [0, 2, 3],
                None,
            ),
            // PrimeKG.
            (
                "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,y_source",
                [5, 0, 10],
                None,
            ),
            // KGTK.
            ("id,node1,label,node2", [1, 2, 3], None),
            ("#source,target,interaction", [0, 2, 1], None),
            (":START_ID,:END_ID,:TYPE", [0, 2, 1], None),
            (
                ":START_ID(Person),since:int,:TYPE,:END_ID(Person)",
                [0, 2, 3],
                None,
            ),
            (
                "uuid:START_ID,weight:float,:END_ID,:TYPE",
                [0, 3, 2],
                Some(1),
            ),
            (",_start,_end,_type", [1, 3, 2], None),
            // Hetionet.
            ("source,metaedge,target", [0, 1, 2], None),
            // NELL, whose source is the origin of a fact.
            (
                "Entity,Relation,Value,Iteration of Promotion,Probability,Source",
                [0, 1, 2],
                None,
            ),
            ("lhs,rel,rhs", [0, 1, 2], None),
            ("head_name,relation_name,tail_name", [0, 1, 2], None),
            ("Head Entity,relationType,Tail Entity", [0, 1, 2], None),
            ("source_id,source,target_id,target,edge", [1, 4, 3], None),
            ("?s,?p,?o", [0, 1, 2], None),
            ("subject,relation,tail", [0, 1, 2], None),
        ] {
            let heading: Vec<&str> = heading.split(',').collect();
            assert_eq!(
                fact_columns(&heading),
                Some(FactColumns { names, weight }),
                "{heading:?}"
            );
        }
        for facts in [
            "Ada,knows,Charles",
            "a,r,b",
            "head,of,state",
            "relation,head,Tail 2",
            "source,relation,b,tail,c",
        ] {
            let row: Vec<&str> = facts.split(',').collect();
            assert_eq!(fact_columns(&row), None, "{facts}");
        }
    }

    #[test]
    fn columns_are_found_by_name_and_number() {
        let heading = ["gene", "Disease", "how", "p"];
        let columns: Columns = "gene,how,disease,4".parse().unwrap();
        let found = chosen(&columns, &heading).unwrap();
        assert_eq!(
            found,
            FactColumns {
                names: [0, 2, 1],
                weight: Some(3)
            }
        );
        let columns: Columns = "1,5,2".parse().unwrap();
        assert_eq!(chosen(&columns, &heading), Err(&Column::Number(5)));
    }
}
