//! Every shader translated for the compilers of Vulkan, Metal and DX12.
//!
//! With `SHARDLOOM_SHADERS=FOLDER` the texts are left there for those compilers: see
//! `tests/shaders/README.md`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Module, StorageAccess};

use super::{Stage, module, stages};

/// The text of a stage in one language.
struct Text {
    language: &'static str,
    extension: &'static str,
    code: String,
}

/// The HLSL that wgpu's DX12 backend makes. Debug builds have `checked` accesses.
fn to_hlsl(
    stage: Stage,
    (module, info): (&Module, &ModuleInfo),
    shader_model: hlsl::ShaderModel,
    checked: bool,
) -> String {
    let mut binding_map = hlsl::BindingMap::default();
    // A register counts within its class: constants, what is read, and what is written.
    let mut registers = [0, 0, 0];
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else {
            continue;
        };
        let class = match variable.space {
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => 2,
            AddressSpace::Storage { .. } => 1,
            _ => 0,
        };
        let target = hlsl::BindTarget {
            register: registers[class],
            restrict_indexing: checked,
            ..Default::default()
        };
        registers[class] += 1;
        binding_map.insert(*binding, target);
    }
    let options = hlsl::Options {
        shader_model,
        binding_map,
        fake_missing_bindings: false,
        special_constants_binding: Some(hlsl::BindTarget {
            space: 255,
            ..Default::default()
        }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: checked,
        force_loop_bounding: false,
        ..Default::default()
    };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|error| panic!("{stage:?}: {error}"));
    for name in written.entry_point_names {
        name.unwrap_or_else(|error| panic!("{stage:?}: {error}"));
    }
    text
}

/// The MSL that wgpu's Metal backend makes, but for the numbers of buffers.
fn to_msl(stage: Stage, (module, info): (&Module, &ModuleInfo), checked: bool) -> String {
    let policy = match checked {
        true => BoundsCheckPolicy::Restrict,
        false => BoundsCheckPolicy::Unchecked,
    };
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        bounds_check_policies: BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            ..Default::default()
        },
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: checked,
        ..Default::default()
    };
    let (text, _) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|error| panic!("{stage:?}: {error}"));
    text
}

/// The SPIR-V that wgpu's Vulkan backend makes.
fn to_spirv(stage: Stage, (module, info): (&Module, &ModuleInfo), checked: bool) -> Vec<u32> {
    let policy = match checked {
        true => BoundsCheckPolicy::Restrict,
        false => BoundsCheckPolicy::Unchecked,
    };
    let options = spv::Options {
        bounds_check_policies: BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            ..Default::default()
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    spv::write_vec(module, info, &options, None)
        .unwrap_or_else(|error| panic!("{stage:?}: {error}"))
}

/// The functions that a text in C's manner defines more than once with the same parameters.
fn defined_twice(code: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut twice = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let outermost = line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !outermost || !line.contains('(') || line.trim_end().ends_with(';') {
            continue;
        }
        // MSL has a parameter a line.
        let header: String = lines[i..]
            .iter()
            .take_while(|line| !line.contains('{'))
            .copied()
            .chain(lines[i..].iter().find(|line| line.contains('{')).copied())
            .collect();
        let header = header.split('{').next().unwrap_or_default();
        let (before, parameters) = header.split_once('(').unwrap_or_default();
        let name = before.split_whitespace().last().unwrap_or_default();
        // Overloads have parameters of other types; what parameters are called does not tell them
        // apart.
        let types: Vec<String> = parameters
            .split(',')
            .map(|parameter| {
                let words: Vec<&str> = parameter.split_whitespace().collect();
                words[..words.len().saturating_sub(1)].join(" ")
            })
            .collect();
        if !seen.insert((name.to_owned(), types)) {
            twice.push(name.to_owned());
        }
    }
    twice
}

/// A name for the files of a stage: its own and a number.
fn file_name(stage: Stage, number: usize) -> String {
    format!("{number:03}_{}", stage.name())
}

/// Every shader reaches every compiler as a text that defines each function once.
#[test]
fn every_shader_translates_and_defines_each_function_once() {
    let folder = std::env::var_os("SHARDLOOM_SHADERS");
    let mut faults = Vec::new();
    for (number, stage) in stages().into_iter().enumerate() {
        let (module, info) = module(stage);
        let parsed = (&module, &info);
        let mut texts = Vec::new();
        for checked in [false, true] {
            for (extension, model) in [
                ("5_1.hlsl", hlsl::ShaderModel::V5_1),
                ("6_6.hlsl", hlsl::ShaderModel::V6_6),
            ] {
                texts.push(Text {
                    language: "HLSL",
                    extension,
                    code: to_hlsl(stage, parsed, model, checked),
                });
            }
            texts.push(Text {
                language: "MSL",
                extension: "metal",
                code: to_msl(stage, parsed, checked),
            });
            assert!(!to_spirv(stage, parsed, checked).is_empty());
        }
        for text in &texts {
            for name in defined_twice(&text.code) {
                faults.push(format!("{stage:?}: {} defines {name} twice", text.language));
            }
        }
        if let Some(folder) = &folder {
            let name = file_name(stage, number);
            let write = |extension: &str, text: String| {
                let file = Path::new(folder).join(format!("{name}.{extension}"));
                fs::write(file, text).expect("SHARDLOOM_SHADERS is a folder");
            };
            write("wgsl", stage.source().expect("composes"));
            let release = texts.len() / 2;
            for text in &texts[..release] {
                write(
                    text.extension,
                    format!("// EP {}\n{}", stage.name(), text.code),
                );
            }
            for text in &texts[release..] {
                let extension = format!("checked.{}", text.extension);
                write(&extension, format!("// EP {}\n{}", stage.name(), text.code));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn functions_defined_twice_are_found() {
    let zero = "float4 Zero() {\n    return (float4)0;\n}\n";
    let overload = "float f(float a) {\n}\nfloat f(float2 a) {\n}\n";
    assert_eq!(defined_twice(zero), [""; 0]);
    assert_eq!(defined_twice(&[zero, zero].concat()), ["Zero"]);
    assert_eq!(defined_twice(overload), [""; 0]);
    let again = "float f(\n    float b\n) {\n}\n";
    assert_eq!(defined_twice(&[overload, again].concat()), ["f"]);
}

/// Khronos' validator, where it is installed, accepts every module.
#[test]
fn every_spirv_module_is_valid() {
    let validator = Command::new("spirv-val").arg("--version").output();
    if validator.is_err() {
        crate::device::testing::skip("no spirv-val", "SHARDLOOM_REQUIRE_SPIRV_VAL");
        return;
    }
    // Modules that are the same need one look.
    let mut seen = HashMap::new();
    let folder = tempfile::tempdir().expect("a folder for modules");
    for stage in stages() {
        let (module, info) = module(stage);
        for checked in [false, true] {
            let words = to_spirv(stage, (&module, &info), checked);
            seen.entry(words).or_insert((stage, checked));
        }
    }
    for (words, (stage, checked)) in &seen {
        let file = folder.path().join("module.spv");
        fs::write(&file, bytemuck::cast_slice::<u32, u8>(words)).expect("the folder is writable");
        let found = Command::new("spirv-val")
            .args(["--target-env", "vulkan1.1"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .expect("spirv-val runs");
        assert!(
            found.status.success(),
            "{stage:?}, checked: {checked}: {}",
            String::from_utf8_lossy(&found.stderr)
        );
    }
}
