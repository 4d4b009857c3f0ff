//! Shards of servers that are saved and loaded.

use shardloom::kernel::{Backend, Dtype, TableName};
use shardloom::model::Model;
use shardloom::net::cut::{TableError, load_shard, save_shard, shape_of};
use shardloom::optim::OptimizerKind;
use shardloom::server::{Initializer, ParameterServer, Shape, Spread, Storage};

use super::*;

fn server(seed: u64, optimizer: OptimizerKind, dtype: Dtype) -> ParameterServer {
    let shape = Shape {
        model: Model::DistMult,
        dim: 6,
        entities: 101,
        relations: 5,
        relation_dim: None,
    };
    let storage = Storage {
        optimizer,
        sharding: ShardingStrategy::EntityHash,
        shards: 3,
        dtype,
    };
    let init = Initializer::new(seed, Spread::Normal(1.0));
    let server = ParameterServer::new(Backend::cpu(), shape, storage, &init).unwrap();
    // States of an optimizer that has made steps.
    for table in TableName::ALL {
        for column in [Column::First, Column::Second] {
            let width = column.width(&server.spec(table));
            let fill = |rows: std::ops::Range<usize>, out: &mut Vec<f32>| {
                *out = values(seed + rows.start as u64, rows.len() * width);
                Ok::<(), shardloom::kernel::KernelError>(())
            };
            if width > 0 {
                server.fill(table, column, fill).unwrap();
            }
        }
    }
    server
}

/// All columns of both tables, by row number.
fn content(server: &ParameterServer) -> Vec<u32> {
    let mut all = Vec::new();
    for table in TableName::ALL {
        let rows = server.spec(table).layout.rows();
        for column in [Column::Values, Column::First, Column::Second] {
            let mut part = Vec::new();
            server
                .column(table, column)
                .read(0..rows, &mut part)
                .unwrap();
            all.extend(part.iter().map(|value| value.to_bits()));
        }
    }
    all
}

#[test]
fn a_server_that_loads_a_cut_has_the_same_bits() {
    let half = Dtype::F16 { stochastic: true };
    for (optimizer, dtype) in [
        (OptimizerKind::Sgd, Dtype::F32),
        (OptimizerKind::Adagrad, Dtype::F32),
        (OptimizerKind::Adam, half),
    ] {
        let run = tempfile::tempdir().unwrap();
        let cuts = cuts(run.path());
        let [saved, other] = [1, 2].map(|seed| server(seed, optimizer, dtype));
        assert_ne!(content(&saved), content(&other));
        let shards: Vec<ShardId> = (0..3)
            .map(ShardId::entities)
            .chain([ShardId::relations(0)])
            .collect();
        let mut files = Vec::new();
        for &shard in &shards {
            // A cut numbers the shards of all servers.
            let named = ShardId {
                shard: shard.shard + 10,
                ..shard
            };
            let shape = shape_of(&saved, shard, named).unwrap();
            let mut writer = cuts.writer(&attempt(3, 1), shape).unwrap();
            save_shard(&saved, shard, &mut writer).unwrap();
            files.push(writer.finish(Incarnation(1)).unwrap());
        }
        let cut = manifest(&attempt(3, 1), files);
        for (&shard, file) in shards.iter().zip(&cut.files) {
            load_shard(&other, shard, &mut cuts.reader(&cut, file.shard).unwrap()).unwrap();
        }
        assert_eq!(content(&saved), content(&other), "{optimizer:?} {dtype:?}");

        let error = load_shard(
            &other,
            shards[3],
            &mut cuts.reader(&cut, cut.files[0].shard).unwrap(),
        );
        assert!(matches!(error, Err(TableError::Shape { .. })), "{error:?}");
        let error = shape_of(&other, ShardId::entities(3), ShardId::entities(3)).unwrap_err();
        assert!(error.to_string().contains("shard"), "{error}");
        let mut out = Vec::new();
        for places in [0..1000, 5..6] {
            let read = other.read_shard(shards[3], Column::Values, places, &mut out);
            assert!(read.is_err(), "{read:?}");
        }
    }
}
