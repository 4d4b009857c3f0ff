//! Training steps in `f64` and plain loops, straight from the definitions: what every backend is
//! compared with. Knows nothing of backends.
//!
//! Beside every gradient it keeps a *size*: how large the numbers were that went into it, so that
//! size × ε of `f32` is what one rounding may cost. A backend may be off by a small multiple.

#![allow(dead_code)]

use shardloom::kernel::{Dtype, StepSpec};
use shardloom::loss::{Loss, LossKind, MASKED};
use shardloom::model::{Model, Similarity, lane, lane_count, set_lane};
use shardloom::optim::OptimizerStep;
use shardloom::rng::cell;
use shardloom::sampler::{Candidates, Plan, Rows};

use crate::cores;

/// A table and its optimizer states, row-major.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub width: usize,
    pub dtype: Dtype,
    pub values: Vec<f64>,
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

/// Gradients of a whole table: zero where a row is not touched.
#[derive(Clone, Debug)]
pub struct Gradients {
    pub width: usize,
    pub values: Vec<f64>,
    /// One a row.
    pub sizes: Vec<f64>,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub struct Step {
    pub loss: f64,
    pub loss_size: f64,
    pub entities: Gradients,
    pub relations: Gradients,
}

impl Table {
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    pub fn row(&self, row: u32) -> &[f64] {
        &self.values[row as usize * self.width..][..self.width]
    }

    /// Applies gradients to the given rows.
    pub fn update(&mut self, step: OptimizerStep, rows: &[u32], gradients: &Gradients) {
        let states = step.kind.state_widths(self.width);
        let [first, second] = [0, 1].map(|i| states.get(i).copied().unwrap_or(0));
        for &row in rows {
            let row = row as usize;
            step.apply(
                &mut self.values[row * self.width..][..self.width],
                &gradients.values[row * self.width..][..self.width],
                &mut self.first[row * first..][..first],
                &mut self.second[row * second..][..second],
            );
        }
    }
}

impl Gradients {
    fn zero(table: &Table) -> Gradients {
        Gradients {
            width: table.width,
            values: vec![0.0; table.values.len()],
            sizes: vec![0.0; table.rows()],
        }
    }

    fn add(&mut self, row: u32, gradient: &[f64], size: f64) {
        for (sum, g) in self.values[row as usize * self.width..]
            .iter_mut()
            .zip(gradient)
        {
            *sum += g;
        }
        self.sizes[row as usize] += size;
    }
}

/// Loss and gradients of a step.
pub fn step(spec: &StepSpec, plan: &Plan, entities: &Table, relations: &Table) -> Step {
    let operands = cores::operands(spec.model, relations, entities.width);
    let sizes = cores::operand_sizes(spec.model, relations, entities.width);
    let mut out = Step {
        loss: 0.0,
        loss_size: 0.0,
        entities: Gradients::zero(entities),
        relations: Gradients::zero(&operands),
    };
    for q in 0..plan.queries.len() {
        query(spec, plan, q, entities, (&operands, &sizes), &mut out);
        if let (true, Candidates::All { offsets, positives }) =
            (plan.predicts_relations, &plan.candidates)
        {
            for &answer in &positives[offsets[q] as usize..offsets[q + 1] as usize] {
                pair(spec, plan, (q, answer), entities, relations, &mut out);
            }
        }
    }
    out.relations = cores::to_rows(spec.model, relations, entities.width, out.relations);
    let penalty = spec.regularizer;
    let add = |rows: &Rows, table: &Table, lanes, strength: f32, out: &mut Gradients| {
        for (&row, &weight) in rows.ids.iter().zip(&rows.penalty) {
            let mut gradient = vec![0.0; table.width];
            let strength = f64::from(strength) * f64::from(weight);
            penalty
                .kind
                .add_gradient(lanes, table.row(row), strength, &mut gradient);
            out.add(row, &gradient, largest(&gradient));
        }
    };
    add(
        &plan.entities,
        entities,
        spec.model.entity_lanes(),
        penalty.entity,
        &mut out.entities,
    );
    add(
        &plan.relations,
        relations,
        spec.model.relation_lanes(),
        penalty.relation,
        &mut out.relations,
    );
    out
}

fn query(
    spec: &StepSpec,
    plan: &Plan,
    q: usize,
    entities: &Table,
    (relations, relation_sizes): (&Table, &Table),
    out: &mut Step,
) {
    let model = spec.model;
    let asked = plan.queries[q];
    let entity_row = plan.entities.ids[asked.entity as usize];
    let relation_row = plan.relations.ids[asked.relation as usize];
    let inverse = asked.inverse == 1;
    let number = plan.first_query + q as u32;
    let entity_kept = kept(
        spec.entity_dropout,
        [plan.dropout_seed, number],
        entities.width,
    );
    let relation_kept = kept(
        spec.relation_dropout,
        [plan.dropout_seed ^ 0x5bd1_e995, number],
        relations.width,
    );
    let entity = times(entities.row(entity_row), &entity_kept);
    let relation = times(relations.row(relation_row), &relation_kept);
    let mut vector = vec![0.0; entities.width];
    model.query(&entity, &relation, inverse, &mut vector);
    let mut vector_size = absolute(&vector);
    if model.has_matrices() {
        let sizes = times(relation_sizes.row(relation_row), &relation_kept);
        let numbers = [absolute(&entity), sizes];
        model.query(&numbers[0], &numbers[1], inverse, &mut vector_size);
    }

    let (rows, masked, positives) = candidates(plan, q, entities.rows());
    let masks = rows.iter().map(|&row| {
        let mask = as_candidate(spec, plan, row, entities.width);
        (times(entities.row(row), &mask), mask)
    });
    let (values, masks): (Vec<_>, Vec<_>) = masks.unzip();
    let mut scores: Vec<f64> = (values.iter())
        .map(|row| model.score(&vector, row))
        .collect();
    for (score, &masked) in scores.iter_mut().zip(&masked) {
        if masked {
            *score = MASKED;
        }
    }
    let weight = f64::from(plan.weights[q]);
    let mut derivatives = scores.clone();
    out.loss += spec.loss.row(&mut derivatives, &positives, weight);

    let mut d_query = vec![0.0; entities.width];
    let mut d_query_size = 0.0;
    for (j, &row) in rows.iter().enumerate() {
        let candidate = &values[j][..];
        let score_size = if masked[j] {
            0.0
        } else {
            score_size(model, (&vector, &vector_size), candidate, scores[j])
        };
        out.loss_size += weight * (1.0 + score_size + scores[j].abs().min(1e3));
        if masked[j] {
            continue;
        }
        let slope = model.similarity().slope(scores[j]);
        let coefficient = derivatives[j] * slope;
        let off = derivatives[j].abs()
            + weight * (1.0 + score_size * f64::from(spec.loss.temperature.max(1.0)));
        let (dq, dc, mut size) = pair_gradient(model, &vector, candidate);
        if model.has_matrices() {
            size += largest(&vector_size);
        }
        let off = off * slope
            + coefficient.abs()
                * if slope == 1.0 {
                    0.0
                } else {
                    score_size / scores[j].abs()
                };
        for (sum, g) in d_query.iter_mut().zip(&dq) {
            *sum += coefficient * g;
        }
        d_query_size += off * size;
        let dc: Vec<f64> = dc.iter().map(|g| g * coefficient).collect();
        let scale = largest(&masks[j]).max(1.0);
        out.entities
            .add(row, &times(&dc, &masks[j]), off * size * scale);
    }
    let (mut de, mut dr) = (vec![0.0; entities.width], vec![0.0; relations.width]);
    model.query_backward(&entity, &relation, inverse, &d_query, &mut de, &mut dr);
    let stretch = (1.0 + largest(&entity) + largest(&relation)) * steepness(model, &relation);
    let scale = largest(&entity_kept).max(largest(&relation_kept));
    let mut entity_stretch = stretch;
    if model.has_matrices() {
        let (ones, mut sums) = (vec![1.0; entities.width], vec![0.0; entities.width]);
        model.query(&ones, &absolute(&relation), !inverse, &mut sums);
        entity_stretch += largest(&sums);
    }
    out.entities.add(
        entity_row,
        &times(&de, &entity_kept),
        d_query_size * entity_stretch * scale,
    );
    out.relations.add(
        relation_row,
        &times(&dr, &relation_kept),
        d_query_size * stretch * scale,
    );
}

/// How much a relation's gradient grows where the operator divides by its norm.
fn steepness(model: Model, relation: &[f64]) -> f64 {
    if model != Model::QuatE {
        return 1.0;
    }
    let lanes = model.relation_lanes();
    let norms = (0..lane_count(lanes, relation.len())).map(|k| {
        let r: [f64; 4] = lane(lanes, relation, k);
        r.iter().map(|x| x * x).sum::<f64>().sqrt()
    });
    let kept = norms.filter(|&norm| norm > 0.0);
    1.0 + 1.0 / kept.fold(1.0, f64::min)
}

/// What dropout multiplies the values of a row by.
fn kept(p: f32, [seed, row]: [u32; 2], width: usize) -> Vec<f64> {
    let threshold = (f64::from(p) * 4_294_967_296.0) as u32;
    let factor = |column| match cell(seed, row, column) >= threshold {
        true => 1.0 / (1.0 - f64::from(p)),
        false => 0.0,
    };
    (0..width as u32).map(factor).collect()
}

/// What dropout multiplies the values of an entity by where it is a candidate.
fn as_candidate(spec: &StepSpec, plan: &Plan, row: u32, width: usize) -> Vec<f64> {
    let seed = plan.dropout_seed ^ 0x27d4_eb2f;
    kept(spec.candidate_dropout, [seed, row], width)
}

/// The relation of a query among all relations, given both entities: its own and one of its answers.
fn pair(
    spec: &StepSpec,
    plan: &Plan,
    (q, target_row): (usize, u32),
    entities: &Table,
    relations: &Table,
    out: &mut Step,
) {
    let asked = plan.queries[q];
    let entity_row = plan.entities.ids[asked.entity as usize];
    let inverse = asked.inverse == 1;
    let number = plan.first_query + q as u32;
    let entity_kept = kept(
        spec.entity_dropout,
        [plan.dropout_seed, number],
        entities.width,
    );
    let entity = times(entities.row(entity_row), &entity_kept);
    let target_kept = as_candidate(spec, plan, target_row, entities.width);
    let target = &times(entities.row(target_row), &target_kept);

    // Straight from the definition: the fact with each relation in turn.
    let rows = 0..relations.rows() as u32;
    let vectors: Vec<Vec<f64>> = rows
        .clone()
        .map(|r| {
            let mut vector = vec![0.0; entities.width];
            let relation = relations.row(r);
            spec.model.query(&entity, relation, inverse, &mut vector);
            vector
        })
        .collect();
    let scores: Vec<f64> = (vectors.iter())
        .map(|vector| spec.model.score(vector, target))
        .collect();
    let answers = candidates(plan, q, entities.rows()).2.len();
    let weight = f64::from(spec.relation_weight) * f64::from(plan.weights[q]) / answers as f64;
    let mut derivatives = scores.clone();
    let right = plan.relations.ids[asked.relation as usize];
    out.loss += Loss::new(LossKind::Softmax).row(&mut derivatives, &[right], weight);

    let scale = largest(&entity_kept).max(largest(&target_kept));
    let both = largest(&entity) + largest(target);
    let score_sizes: Vec<f64> = (vectors.iter().zip(&scores))
        .map(|(vector, &score)| 2.0 + 3.0 * score_size(spec.model, (vector, vector), target, score))
        .collect();
    let score_size = largest(&score_sizes);
    out.loss_size += weight * score_size;
    for (r, derivative) in rows.zip(derivatives) {
        // A softmax is off in proportion to itself.
        let label = if r == right { weight } else { 0.0 };
        let off = label + (derivative + label) * score_size;
        let relation = relations.row(r);
        let (mut de, mut dr) = (vec![0.0; entities.width], vec![0.0; relations.width]);
        let d_query: Vec<f64> = target.iter().map(|t| derivative * t).collect();
        let model = spec.model;
        model.query_backward(&entity, relation, inverse, &d_query, &mut de, &mut dr);
        let dt: Vec<f64> = vectors[r as usize].iter().map(|x| derivative * x).collect();
        let of_entities = off * 2.0 * largest(relation) * both * scale;
        // The optimizer's own roundings are measured by gradients, too: none may be tiny.
        let of_relation =
            off * 2.0 * largest(&entity) * largest(target) + f64::from(plan.weights[q]);
        let de = times(&de, &entity_kept);
        out.entities.add(entity_row, &de, of_entities);
        let dt = times(&dt, &target_kept);
        out.entities.add(target_row, &dt, of_entities);
        out.relations.add(r, &dr, of_relation);
    }
}

/// Entity rows of a query's candidates, which of them are masked, and which are right.
fn candidates(plan: &Plan, q: usize, entities: usize) -> (Vec<u32>, Vec<bool>, Vec<u32>) {
    match &plan.candidates {
        Candidates::All { offsets, positives } => {
            let right = &positives[offsets[q] as usize..offsets[q + 1] as usize];
            (
                (0..entities as u32).collect(),
                vec![false; entities],
                right.to_vec(),
            )
        }
        Candidates::Sampled {
            chunk,
            negatives,
            slots,
            masks,
        } => {
            let slots = &slots[q / chunk * negatives..][..*negatives];
            let positions = [plan.queries[q].target]
                .into_iter()
                .chain(slots.iter().copied());
            let rows = positions.map(|p| plan.entities.ids[p as usize]).collect();
            let words = negatives.div_ceil(32);
            let bit =
                |j: usize| !masks.is_empty() && masks[q * words + j / 32] >> (j % 32) & 1 == 1;
            let masked = [false]
                .into_iter()
                .chain((0..*negatives).map(bit))
                .collect();
            (rows, masked, vec![0])
        }
    }
}

/// ∂score/∂query and ∂score/∂candidate without the slope, and the size of their values.
fn pair_gradient(model: Model, query: &[f64], candidate: &[f64]) -> (Vec<f64>, Vec<f64>, f64) {
    let similarity = model.similarity();
    let lanes = similarity.lanes();
    let (mut dq, mut dc) = (vec![0.0; query.len()], vec![0.0; query.len()]);
    let mut size = 0.0f64;
    for k in 0..lane_count(lanes, query.len()) {
        let (a, b) = (lane(lanes, query, k), lane(lanes, candidate, k));
        set_lane(lanes, &mut dq, k, similarity.gradient(a, b));
        set_lane(lanes, &mut dc, k, similarity.gradient(b, a));
        let apart = (a[0] - b[0]).hypot(a[1] - b[1]);
        let both = a[0].hypot(a[1]) + b[0].hypot(b[1]);
        size = size.max(match similarity {
            Similarity::Dot | Similarity::NegativeL2 => both,
            Similarity::NegativeL1 => 1.0,
            Similarity::NegativeModulus => 1.0 + both / (apart + 1e-6),
        });
    }
    (dq, dc, size)
}

/// The numbers that were added up to a score.
fn score_size(
    model: Model,
    (query, query_size): (&[f64], &[f64]),
    candidate: &[f64],
    score: f64,
) -> f64 {
    let pairs = query.iter().zip(candidate);
    match model.similarity() {
        Similarity::Dot => {
            let sizes = query_size.iter().zip(candidate);
            sizes.map(|(q, e)| (q * e).abs()).sum()
        }
        Similarity::NegativeL1 | Similarity::NegativeModulus => {
            pairs.map(|(q, e)| q.abs() + e.abs()).sum()
        }
        Similarity::NegativeL2 => {
            let squares = pairs.map(|(q, e)| (q.abs() + e.abs()) * (q - e).abs());
            squares.sum::<f64>() / score.abs()
        }
    }
}

pub fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|x| x.abs()).collect()
}

fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |top, x| top.max(x.abs()))
}
