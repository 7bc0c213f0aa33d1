//! What makes vectors of tokens, or of images? An encoder and what stands behind it.

use modelfiles::recipe::Precision;

use crate::{
    Error, Outputs, Plan, Processor, Vectors,
    embedder::BATCH_TOKENS,
    executor::Encoder,
    heads::{Heads, Loading, Pass},
    images::Sight,
    repository::{Repository, Step},
    threads::Team,
    tokens::{Tokeniser, Tokens},
};

/// One encoder of a model, ready to run.
pub(crate) struct Tower {
    pub(crate) plan: Plan,
    pub(crate) heads: Heads,
    encoder: Encoder,
    /// How images are made ready, where it reads images.
    sight: Option<Sight>,
}

/// Loads an encoder.
pub(crate) fn encoder(loading: Loading<'_>) -> Result<Encoder, Error> {
    let Loading { repository, architecture, plan, processor, precision } = loading;
    Encoder::load(plan, architecture, &mut repository.weights(plan)?, processor, precision)
}

impl Tower {
    /// Loads what stands behind the encoder of texts.
    pub(crate) fn of_texts(
        loading: Loading<'_>,
        encoder: Encoder,
        tokeniser: &Tokeniser,
    ) -> Result<Self, Error> {
        let heads = Heads::load(loading, tokeniser)?;
        Ok(Self { plan: loading.plan.clone(), heads, encoder, sight: None })
    }

    /// Loads the encoder of images and what stands behind it, if there is one.
    pub(crate) fn of_images(loading: Loading<'_>) -> Result<Option<Self>, Error> {
        let Loading { repository, plan, .. } = loading;
        let (Some(towers), Some(patches)) = (&repository.towers, &plan.patches) else {
            return Ok(None);
        };
        Ok(Some(Self {
            sight: Some(repository.sight(patches)?),
            heads: Heads::of_images(loading, towers)?,
            encoder: encoder(loading)?,
            plan: plan.clone(),
        }))
    }

    /// Makes an image file ready.
    pub(crate) fn look(&self, file: &[u8]) -> Result<Tokens, Error> {
        let sight = self.sight.as_ref().ok_or(Error::NoImages)?;
        Ok(Tokens::of_image(sight.look(file)?, self.plan.context_length()))
    }

    /// Computes what is wanted of each text, or of each image.
    pub(crate) fn run(
        &self,
        texts: &[(&Tokens, Outputs)],
        team: Team<'_>,
    ) -> Result<Vec<Vectors>, Error> {
        let tokens: Vec<&Tokens> = texts.iter().map(|(tokens, _)| *tokens).collect();
        let pixels: Vec<f32> = match &self.sight {
            Some(sight) => tokens.iter().flat_map(|image| sight.values(&image.pixels)).collect(),
            None => Vec::new(),
        };
        let heads = |hidden: &[f32], starts: &[usize]| {
            self.heads.forward(Pass { hidden, starts, texts, team })
        };
        self.encoder.forward(&tokens, &pixels, team, heads)
    }
}

/// Returns how long vectors are behind these steps, and how many weights the steps have.
pub(crate) fn behind(steps: &[Step], mut width: usize) -> Result<(usize, u64), Error> {
    let mut weights = 0;
    for step in steps {
        match step {
            Step::Dense { folder, inputs: taken, .. } | Step::Norm { folder, width: taken, .. }
                if *taken != width =>
            {
                let problem = format!("takes {taken} values, there are {width}");
                return Err(Error::file(format!("{folder}config.json"), problem));
            }
            Step::Dense { inputs, outputs, .. } => {
                width = *outputs;
                weights += (inputs * outputs + outputs) as u64;
            }
            Step::Added(steps) => weights += behind(steps, width)?.1,
            Step::Norm { .. } | Step::Normalize => {}
        }
    }
    Ok((width, weights))
}

/// Returns the bytes of an encoder's weights and of the largest pass.
pub(crate) fn memory_bytes(plan: &Plan, (processor, precision): (&Processor, Precision)) -> u64 {
    let (context, threads) = (plan.context_length(), processor.threads.count());
    // A request may ask for as many tokens as the model was made for.
    let at_once = context.max(BATCH_TOKENS * threads);
    // As bytes, as numbers, and as the inputs of a product.
    let pixels = 9 * plan.patches.map_or(0, |patches| at_once * patches.width()) as u64;
    processor.weight_bytes(plan, precision) + plan.arena_bytes(at_once, context, threads) + pixels
}

/// Returns how many weights stand behind an encoder of images, once it is known that it fits the one of texts.
pub(crate) fn image_weights(
    repository: &Repository<'_>,
    plan: &Plan,
    dimensions: usize,
) -> Result<u64, Error> {
    let (Some(towers), Some(patches)) = (&repository.towers, &plan.patches) else { return Ok(0) };
    let (found, weights) = behind(&towers.steps, plan.hidden)?;
    if found != dimensions {
        let problem = format!("images have {found} dimensions, texts {dimensions}");
        return Err(Error::file("config.json", problem));
    }
    repository.sight(patches)?;
    let probe = if towers.probe.is_some() { plan.hidden * (plan.hidden + plan.heads) } else { 0 };
    Ok(weights + probe as u64)
}

impl Tokens {
    /// Takes what stands for an image: its pixels, patch after patch, and how many rows they make.
    fn of_image(pixels: Vec<u8>, rows: usize) -> Self {
        Self { pixels, ..Self::of((0..rows as u32).collect(), false) }
    }
}
