//! Which columns hold head, relation and tail, by the names that headings give them.

use crate::dataset::read_options::{Column, Columns};

/// What columns with a head are called, in lower case; the first one that is there counts.
const HEADS: [&str; 23] = [
    "subject",
    "subject_id",
    "head",
    "head_id",
    "h",
    "source",
    "source_id",
    "src",
    "x_name",
    "x_id",
    "node1",
    "subj",
    "s",
    ":start_id",
    "from",
    "start",
    "entity1",
    "head_entity",
    "source_node",
    "x",
    "e1",
    "entity_1",
    "sub",
];

/// What columns with a relation are called.
const RELATIONS: [&str; 21] = [
    "predicate",
    "predicate_id",
    "relation",
    "relation_id",
    "relation_name",
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
    "interaction",
    "label",
    "display_relation",
    "rel_type",
    ":type",
    "type",
];

/// What columns with a tail are called.
const TAILS: [&str; 25] = [
    "object",
    "object_id",
    "tail",
    "tail_id",
    "t",
    "target",
    "target_id",
    "dst",
    "dest",
    "destination",
    "y_name",
    "y_id",
    "node2",
    "obj",
    "o",
    ":end_id",
    "to",
    "end",
    "entity2",
    "tail_entity",
    "target_node",
    "y",
    "e2",
    "entity_2",
    "value",
];

/// What a column with weights is called.
const WEIGHT: &str = "weight";

/// The places of head, relation, tail and, if there is one, weight, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub names: [usize; 3],
    pub weight: Option<usize>,
}

/// A name as headings are compared: in lower case, without what marks it as a comment.
fn plain(name: &str) -> String {
    name.trim().trim_start_matches('#').trim().to_lowercase()
}

/// Whether columns are called that.
fn is_known(name: &str) -> bool {
    let name = plain(name);
    let known = [&HEADS[..], &RELATIONS, &TAILS].concat();
    known.contains(&name.as_str())
}

/// The places of head, relation and tail that well-known names give.
pub(crate) fn well_known(heading: &[impl AsRef<str>]) -> [Option<usize>; 3] {
    let names: Vec<String> = heading.iter().map(|name| plain(name.as_ref())).collect();
    let place = |known: &str| names.iter().position(|name| name == known);
    [&HEADS[..], &RELATIONS, &TAILS].map(|known| known.iter().copied().find_map(place))
}

/// The places that well-known names give, if each part of a fact has one.
pub(super) fn places(heading: &[impl AsRef<str>]) -> Option<Places> {
    let [head, relation, tail] = well_known(heading);
    let weight = heading
        .iter()
        .position(|name| plain(name.as_ref()) == WEIGHT);
    Some(Places {
        names: [head?, relation?, tail?],
        weight,
    })
}

/// The places that a user asks for.
///
/// # Errors
/// The column that is not there.
pub(super) fn chosen<'a>(
    columns: &'a Columns,
    heading: &[impl AsRef<str>],
) -> Result<Places, &'a Column> {
    let place = |column: &'a Column| {
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
    Ok(Places {
        names: [place(head)?, place(relation)?, place(tail)?],
        weight: columns.weight.as_ref().map(place).transpose()?,
    })
}

/// Whether the fields that were chosen by number are names of columns rather than a fact.
pub(super) fn is_heading(row: &[impl AsRef<str>], places: Places) -> bool {
    let known = |place: usize| row.get(place).is_some_and(|name| is_known(name.as_ref()));
    places.names.into_iter().all(known)
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
            // The edges of KGX, with more columns than count.
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
        ] {
            let heading: Vec<&str> = heading.split(',').collect();
            assert_eq!(
                places(&heading),
                Some(Places { names, weight }),
                "{heading:?}"
            );
        }
        for facts in [
            "Ada,knows,Charles",
            "a,r,b",
            "head,of,state",
            "relation,head,Tail 2",
        ] {
            let row: Vec<&str> = facts.split(',').collect();
            assert_eq!(places(&row), None, "{facts}");
        }
    }

    #[test]
    fn columns_are_found_by_name_and_number() {
        let heading = ["gene", "Disease", "how", "p"];
        let columns: Columns = "gene,how,disease,4".parse().unwrap();
        let found = chosen(&columns, &heading).unwrap();
        assert_eq!(
            found,
            Places {
                names: [0, 2, 1],
                weight: Some(3)
            }
        );
        let columns: Columns = "1,5,2".parse().unwrap();
        assert_eq!(chosen(&columns, &heading), Err(&Column::Number(5)));
    }
}
