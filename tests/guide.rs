//! The workflows that the documentation shows can be run as they stand.

use std::{fs, path::Path};

#[test]
fn every_workflow_in_the_guide_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let mut read = 0;
    for page in fs::read_dir(folder).unwrap() {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap();
        for document in blocks(&text, "yaml").into_iter().filter(|block| block.starts_with("name:"))
        {
            let workflow = windlass_engine::parse(document);
            assert!(workflow.is_ok(), "{}: {:?}\n{document}", page.display(), workflow.err());
            read += 1;
        }
    }
    assert!(0 < read, "the guide shows no workflow");
}

#[test]
fn fenced_blocks_are_found_by_their_language() {
    let page = "a\n```yaml\nname: a\nb: c\n```\n\n```json\n{}\n```\n```yaml\nd: e\n```\n";
    assert_eq!(blocks(page, "yaml"), ["name: a\nb: c", "d: e"]);
}

/// What stands between the fences of one language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("\n```{language}\n");
    let starts = page.split(fence.as_str()).skip(1);
    starts.filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block)).collect()
}
