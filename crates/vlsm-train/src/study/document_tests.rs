//! Tests of the formats of tables.

use super::*;

fn sheet() -> Sheet {
    let best = SheetCell {
        text: "89.1 ± 0.2".into(),
        bold: true,
    };
    Sheet {
        title: "Scores".into(),
        header: ["data", "", "a|b", "dense_vl"].map(String::from).to_vec(),
        words: 2,
        rows: vec![
            vec!["kvasir".into(), "DSC".into(), "9.0".into(), best],
            vec!["".into(), "IoU".into(), "-".into(), "80.25".into()],
            vec!["bkai".into(), "DSC".into(), "<0.001".into(), "".into()],
        ],
        note: "In %.".into(),
    }
}

#[test]
fn the_terminal_has_columns() {
    let expected = "\
data            a|b     dense_vl
kvasir  DSC     9.0  *89.1 ± 0.2
        IoU       -        80.25
bkai    DSC  <0.001
";
    assert_eq!(sheet().text(), expected);
}

#[test]
fn markdown_escapes_and_marks() {
    let text = sheet().markdown();
    assert!(
        text.contains("| data |  | a\\|b | dense_vl |\n| --- | --- | --: | --: |\n"),
        "{text}"
    );
    assert!(
        text.contains("| kvasir | DSC | 9.0 | **89.1 ± 0.2** |\n"),
        "{text}"
    );
}

#[test]
fn latex_escapes_and_marks() {
    let text = sheet().latex();
    for part in [
        "{llrr}",
        "dense\\_vl \\\\",
        "\\textbf{89.1 $\\pm$ 0.2}",
        "80.25 \\\\\n    \\midrule\n    bkai & DSC & $<$0.001",
        "In \\%.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn html_escapes_and_marks() {
    let document = Document {
        title: "Study".into(),
        lead: String::new(),
        sheets: vec![sheet()],
    };
    let text = document.html();
    assert!(
        text.contains("<td class=\"best\">89.1 ± 0.2</td>"),
        "{text}"
    );
    assert!(text.contains("&lt;0.001"));
}
