//! `shardloom devices`: what this machine can compute on.

use std::io::{self, Write};

use indicatif::HumanBytes;
use shardloom::device::{self, AdapterDescription, CpuDescription};

/// List the GPUs and the CPU that --device can choose from
#[derive(Debug, clap::Args)]
pub struct DevicesArgs {
    /// Print JSON: {"adapters": [...], "cpu": {...}}
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Devices {
    adapters: Vec<AdapterDescription>,
    cpu: CpuDescription,
}

/// Prints the devices of this machine to stdout.
pub fn run(args: DevicesArgs) -> Result<(), Box<dyn std::error::Error>> {
    let (adapters, cpu) = (device::list(), device::cpu());
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &Devices { adapters, cpu })?;
        writeln!(out)?;
    } else {
        write(&mut out, &adapters, &cpu)?;
    }
    Ok(out.flush()?)
}

const HEADINGS: [&str; 9] = [
    "DEVICE",
    "NAME",
    "BACKEND",
    "TYPE",
    "PCI",
    "BUFFER",
    "BINDING",
    "SUBGROUPS",
    "F16",
];

fn write(
    out: &mut impl Write,
    adapters: &[AdapterDescription],
    cpu: &CpuDescription,
) -> io::Result<()> {
    if adapters.is_empty() {
        writeln!(
            out,
            "No GPU adapter found (needs a Vulkan, Metal or DX12 driver)."
        )?;
    } else {
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(adapters.iter().map(row));
        let widths: [usize; HEADINGS.len()] = std::array::from_fn(|i| {
            rows.iter()
                .map(|row| row[i].chars().count())
                .max()
                .unwrap_or(0)
        });
        for row in &rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
    }
    writeln!(out, "{:6}  {cpu}", "cpu")
}

fn row(adapter: &AdapterDescription) -> [String; HEADINGS.len()] {
    let yes = |has: bool| if has { "yes" } else { "no" }.to_owned();
    let [fewest, most] = adapter.subgroup_sizes;
    [
        format!("gpu:{}", adapter.index),
        adapter.name.clone(),
        adapter.backend.into(),
        adapter.kind.name().into(),
        adapter.pci.clone().unwrap_or_else(|| "-".into()),
        HumanBytes(adapter.max_buffer_size).to_string(),
        HumanBytes(adapter.max_storage_buffer_binding_size).to_string(),
        match adapter.subgroups {
            true if fewest == most => fewest.to_string(),
            true => format!("{fewest}-{most}"),
            false => "no".into(),
        },
        yes(adapter.f16),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(adapters: &[AdapterDescription]) -> String {
        let mut out = Vec::new();
        write(&mut out, adapters, &device::cpu()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_lists_every_device_by_the_name_that_selects_it() {
        let adapters = device::list();
        let text = text(&adapters);
        for adapter in &adapters {
            let line = text.lines().nth(1 + adapter.index).unwrap();
            assert!(
                line.starts_with(&format!("gpu:{} ", adapter.index))
                    && line.contains(&adapter.name)
            );
        }
        assert!(text.lines().last().unwrap().starts_with("cpu "));
    }

    #[test]
    fn a_machine_without_adapters_is_told_so() {
        let text = text(&[]);
        assert!(
            text.starts_with("No GPU adapter found") && text.lines().count() == 2,
            "{text}"
        );
    }
}
