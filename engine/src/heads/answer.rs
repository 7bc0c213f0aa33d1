//! How much likelier one answer of a language model is than another: a row of its output layer less another row.

use modelfiles::recipe::Precision;

use super::{Linear, Loading};
use crate::{Error, architectures::Slot, repository::Question, tokens::Tokeniser, weights::Matrix};

/// Loads that difference, as a layer of one number.
pub(super) fn load(
    loading: Loading<'_>,
    question: &Question,
    tokeniser: &Tokeniser,
) -> Result<Linear, Error> {
    let Loading { repository, architecture, plan, processor, .. } = loading;
    let word = |word: &str| {
        let missing = || Error::file("tokenizer.json", format!("no token '{word}'"));
        tokeniser.id(word).ok_or_else(missing)
    };
    let (yes, no) = match question.answers {
        Some(answers) => answers,
        None => (word("yes")?, Some(word("no")?)),
    };
    let stem = match repository.config.flag(&["tie_word_embeddings"]) {
        true => architecture.stem(Slot::TokenTable, plan),
        false => "lm_head".to_owned(),
    };
    let mut weights = repository.weights(plan)?;
    weights.anchor(&format!("{stem}.weight"))?;
    let table = weights.matrix(&stem, plan.vocabulary, plan.hidden)?;
    let row = |id: u32| {
        let mut row = vec![0.0; plan.hidden];
        if id as usize >= plan.vocabulary {
            return Err(Error::Tokenizer(format!("token {id} is outside the vocabulary")));
        }
        table.view().read(id as usize, &mut row);
        Ok(row)
    };
    let mut difference = row(yes)?;
    if let Some(no) = no {
        difference.iter_mut().zip(row(no)?).for_each(|(yes, no)| *yes -= no);
    }
    let difference = Matrix::of(difference, 1, plan.hidden);
    let how = (processor.arithmetic, Precision::F32);
    Linear::new(difference.view(), plan.hidden, vec![0.0], how, 1)
}
