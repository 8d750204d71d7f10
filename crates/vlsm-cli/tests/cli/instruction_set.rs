//! `VLSM_ISA`, which chooses the instruction set of the kernels.

use vlsm::InstructionSet;

use crate::support::{Workshop, train_args};

#[test]
fn a_training_has_the_same_bits_on_all_instruction_sets_that_fuse() {
    let shop = Workshop::new();
    let train = |run: &str, set: InstructionSet| {
        let mut command = shop.command(&train_args(run, &["trainer.epochs=2"]));
        let output = command.env("VLSM_ISA", set.name()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    for set in InstructionSet::available() {
        train(set.name(), set);
    }
    let mut fused = InstructionSet::available().filter(|set| *set != InstructionSet::Portable);
    if let Some(first) = fused.next() {
        for other in fused {
            shop.assert_same_results(first.name(), other.name());
        }
        // Otherwise the variable would have no effect.
        let portable = shop.read("portable/adapter.safetensors");
        assert!(shop.read(&format!("{first}/adapter.safetensors")) != portable);
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_an_error() {
    let shop = Workshop::new();
    let arguments = ["model", "info", "base"];
    let output = shop.command(&arguments).env("VLSM_ISA", "mmx").output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains("VLSM_ISA") && said.contains("portable"),
        "{said}"
    );
}
