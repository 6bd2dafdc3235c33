//! Named tensors, wherever they come from, under the names and in the layouts of the Hugging Face hub.

use super::LoadError;
use crate::model::compute::{Matrix, Norm, Precision};

/// A tensor as read: row-major values, widened.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) struct Tensor {
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: Vec<f32>,
    /// What holds the values without loss worth the name.
    pub precision: Precision,
}

/// A file, or several, of tensors.
pub(in crate::model) trait Checkpoint {
    /// What to call it in an error.
    fn file(&self) -> &str;

    /// The tensor of this name, if there is one.
    fn tensor(&self, name: &str) -> Result<Option<Tensor>, LoadError>;
}

/// How a checkpoint lays out the weights of a linear layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::model) enum Layout {
    /// One row per output, as `torch.nn.Linear` has it.
    OutputRows,
    /// One row per input, as GPT-2's `Conv1D` has it.
    InputRows,
}

/// Reads a model's parts out of a checkpoint and checks their shapes.
pub(in crate::model) struct Parts<'a> {
    pub checkpoint: &'a dyn Checkpoint,
    /// Put before every name, such as `transformer.`.
    pub prefix: &'a str,
}

impl Parts<'_> {
    fn tensor(&self, name: &str, expected: &[usize]) -> Result<Tensor, LoadError> {
        let name = format!("{}{name}", self.prefix);
        let file = || self.checkpoint.file().to_owned();
        let Some(tensor) = self.checkpoint.tensor(&name)? else {
            return Err(LoadError::MissingTensor { file: file(), tensor: name, expected: expected.to_vec() });
        };
        if tensor.shape != expected {
            let expected = expected.to_vec();
            return Err(LoadError::TensorShape { file: file(), tensor: name, expected, found: tensor.shape });
        }
        let highest = match tensor.precision {
            Precision::Half => half::f16::MAX.to_f32(),
            Precision::Single => f32::MAX,
        };
        // Written so that a NaN fails it.
        if !tensor.values.iter().all(|value| value.abs() <= highest) {
            return Err(LoadError::NotFinite { file: file(), tensor: name });
        }
        Ok(tensor)
    }

    /// A vector of `length`.
    pub(in crate::model) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        Ok(self.tensor(name, &[length])?.values)
    }

    /// A linear layer's weights from `inputs` to `outputs`.
    pub(in crate::model) fn matrix(
        &self,
        name: &str,
        (inputs, outputs): (usize, usize),
        layout: Layout,
    ) -> Result<Matrix, LoadError> {
        Ok(match layout {
            Layout::OutputRows => {
                let Tensor { values, precision, .. } = self.tensor(name, &[outputs, inputs])?;
                Matrix::pack((inputs, outputs), precision, |input, output| values[output * inputs + input])
            }
            Layout::InputRows => {
                let Tensor { values, precision, .. } = self.tensor(name, &[inputs, outputs])?;
                Matrix::pack((inputs, outputs), precision, |input, output| values[input * outputs + output])
            }
        })
    }

    /// Several linear layers of the same input as one, their outputs side by side.
    pub(in crate::model) fn side_by_side(
        &self,
        inputs: usize,
        layers: &[(&str, usize)],
    ) -> Result<Matrix, LoadError> {
        let mut values = Vec::new();
        let mut precision = Precision::Half;
        for &(name, outputs) in layers {
            let tensor = self.tensor(name, &[outputs, inputs])?;
            values.extend(tensor.values);
            if tensor.precision == Precision::Single {
                precision = Precision::Single;
            }
        }
        let outputs = layers.iter().map(|(_, outputs)| outputs).sum();
        Ok(Matrix::pack((inputs, outputs), precision, |input, output| values[output * inputs + input]))
    }

    /// An embedding of `count` rows.
    pub(in crate::model) fn embedding(
        &self,
        name: &str,
        count: usize,
        width: usize,
    ) -> Result<Matrix, LoadError> {
        self.matrix(name, (width, count), Layout::OutputRows)
    }

    /// A layer norm.
    pub(in crate::model) fn layer_norm(
        &self,
        name: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Norm, LoadError> {
        let weight = self.vector(&format!("{name}.weight"), width)?;
        let bias = Some(self.vector(&format!("{name}.bias"), width)?);
        Ok(Norm { weight, bias, epsilon })
    }

    /// An RMS norm.
    pub(in crate::model) fn rms_norm(
        &self,
        name: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Norm, LoadError> {
        Ok(Norm { weight: self.vector(&format!("{name}.weight"), width)?, bias: None, epsilon })
    }
}
