//! Is a Modelfile of any bytes refused, or the same after it was written and read again?
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelfiles::Modelfile;

fuzz_target!(|data: &[u8]| {
    let Ok(modelfile) = Modelfile::parse(data) else { return };
    drop(modelfile.warnings());
    if has_form(&modelfile) {
        assert_eq!(Modelfile::parse(modelfile.to_string().as_bytes()).as_ref(), Ok(&modelfile));
    }
    let Ok(typed) = modelfile.parameters() else { return };
    let mut written = Modelfile { from: vec!["x".to_owned()], ..Modelfile::default() };
    written.set_parameters(&typed);
    if has_form(&written) {
        let read = Modelfile::parse(written.to_string().as_bytes()).expect("it was just written");
        // As text, because NaN is not equal to itself.
        assert_eq!(format!("{:?}", read.parameters()), format!("{:?}", Ok::<_, ()>(typed)));
    }
});

/// Says whether every text can be written: three quotes at the end of a line, but for the last, have no form.
fn has_form(modelfile: &Modelfile) -> bool {
    let of_pairs = modelfile.parameters.iter().chain(&modelfile.messages).map(|(_, text)| text);
    let lists = [&modelfile.from, &modelfile.adapters, &modelfile.drafts, &modelfile.licenses];
    let single = [&modelfile.template, &modelfile.system, &modelfile.renderer, &modelfile.parser];
    let texts = lists.into_iter().flatten().chain(single.into_iter().flatten()).chain(of_pairs);
    texts.into_iter().all(|text| {
        let mut lines: Vec<&str> = text.split(['\n', '\r']).collect();
        lines.pop();
        !lines.iter().any(|line| line.trim_end().ends_with("\"\"\""))
    })
}
