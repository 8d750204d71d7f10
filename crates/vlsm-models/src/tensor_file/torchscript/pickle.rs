//! What PyTorch's own writer uses of pickle.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Fault, Stored};
use crate::tensor_file::Element;

/// Nested deeper than any model. Values are dropped and searched recursively, so nesting without limit would overflow the stack.
const DEEPEST: u8 = 64;

/// More entries than any model's dictionaries have that are changed after they were stored for use again.
const MOST_COPIES: usize = 1 << 20;

/// What a pickle can hold here; parts are shared, so that copies cost nothing.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Where the elements of a tuple or a dictionary begin.
    Mark,
    Integer(i64),
    Text(Rc<str>),
    /// A class or function, by module and name.
    Global(Rc<str>),
    /// With the depth of nesting.
    Tuple(Rc<[Value]>, u8),
    /// An object's attributes, or a dictionary's entries with text keys; with the depth of nesting.
    Object(Rc<Vec<(Rc<str>, Value)>>, u8),
    Storage(Rc<str>, Element),
    Tensor(Rc<Stored>),
    /// Anything that has no tensors.
    Other,
}

impl Value {
    pub(super) fn integer(&self) -> Option<usize> {
        match self {
            Self::Integer(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    pub(super) fn integers(&self) -> Option<Vec<usize>> {
        match self {
            Self::Tuple(values, _) => values.iter().map(Self::integer).collect(),
            _ => None,
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Self::Tuple(_, depth) | Self::Object(_, depth) => *depth,
            _ => 0,
        }
    }

    fn tuple(values: Vec<Self>) -> Result<Self, Fault> {
        let depth = depth_over(values.iter())?;
        Ok(Self::Tuple(values.into(), depth))
    }

    /// From a persistent id: `("storage", class, key, device, elements)`.
    fn storage(id: &Self) -> Option<Self> {
        let Self::Tuple(parts, _) = id else {
            return None;
        };
        let [Self::Text(_), Self::Global(class), Self::Text(key), ..] = &parts[..] else {
            return None;
        };
        let element = match class.strip_prefix("torch ")? {
            "DoubleStorage" => Element::F64,
            "FloatStorage" => Element::F32,
            "HalfStorage" => Element::F16,
            "BFloat16Storage" => Element::BF16,
            "LongStorage" => Element::I64,
            "IntStorage" => Element::I32,
            "ShortStorage" => Element::I16,
            "CharStorage" => Element::I8,
            "ByteStorage" | "BoolStorage" => Element::U8,
            _ => return None,
        };
        Some(Self::Storage(key.clone(), element))
    }

    /// What a call gives: a tensor, or nothing of interest.
    fn called(function: &Self, arguments: &Self) -> Option<Self> {
        let (Self::Global(name), Self::Tuple(arguments, _)) = (function, arguments) else {
            return Some(Self::Other);
        };
        match &**name {
            "torch._utils _rebuild_tensor_v2" => {
                Stored::new(arguments).map(|tensor| Self::Tensor(Rc::new(tensor)))
            }
            // `(data, requires_grad, hooks)`: the data is the tensor.
            "torch._utils _rebuild_parameter" => arguments.first().cloned(),
            _ => Some(Self::Other),
        }
    }
}

/// The depth of a value that holds `values`.
fn depth_over<'a>(values: impl Iterator<Item = &'a Value>) -> Result<u8, Fault> {
    let depth = values.map(Value::depth).max().unwrap_or(0) + 1;
    match depth > DEEPEST {
        true => Err("it is nested too deep".to_owned()),
        false => Ok(depth),
    }
}

/// A pickle that is run: bytes, stack, and values to be used again.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    /// Entries of dictionaries copied so far.
    copies: usize,
}

impl<'a> Pickle<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            stack: Vec::new(),
            memo: HashMap::new(),
            copies: 0,
        }
    }

    pub(super) fn run(mut self) -> Result<Value, Fault> {
        loop {
            let [code] = self.take()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<(), Fault> {
        match code {
            // Protocol.
            0x80 => drop(self.take::<1>()?),
            b'(' => self.stack.push(Value::Mark),
            // None, true, false, a float; lists, which are of plain values where TorchScript has them.
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Other),
            b'G' => {
                self.take::<8>()?;
                self.stack.push(Value::Other);
            }
            b']' => self.stack.push(Value::Other),
            b'a' => drop(self.pop()?),
            b'e' => drop(self.above_mark()?),
            // Integers of 1, 2, 4 and any bytes.
            b'K' => {
                let [value] = self.take()?;
                self.stack.push(Value::Integer(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.stack.push(Value::Integer(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.stack.push(Value::Integer(value.into()));
            }
            0x8a => {
                let [count] = self.take()?;
                let bytes = self.slice(count.into())?;
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut value = [if negative { 0xff } else { 0 }; 8];
                let target = value
                    .get_mut(..bytes.len())
                    .ok_or("an integer is too long")?;
                target.copy_from_slice(bytes);
                self.stack.push(Value::Integer(i64::from_le_bytes(value)));
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                let text = text(self.slice(length as usize)?)?;
                self.stack.push(Value::Text(text.into()));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let name = format!("{module} {name}");
                self.stack.push(Value::Global(name.into()));
            }
            // Tuples of everything above the mark, and of 0 to 3 values.
            b't' => {
                let values = self.above_mark()?;
                self.stack.push(Value::tuple(values)?);
            }
            b')' => self.stack.push(Value::tuple(Vec::new())?),
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code - 0x84));
                let values = self.stack.split_off(start.ok_or_else(short)?);
                self.stack.push(Value::tuple(values)?);
            }
            // Dictionaries and their entries.
            b'}' => self.stack.push(Value::Object(Rc::default(), 1)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.put(vec![key, value])?;
            }
            b'u' => {
                let entries = self.above_mark()?;
                self.put(entries)?;
            }
            // Calls and objects; an object is its attributes.
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = Value::called(&function, &arguments);
                self.stack
                    .push(value.ok_or("a tensor is described wrongly")?);
            }
            0x81 => {
                let _arguments_and_class = (self.pop()?, self.pop()?);
                self.stack.push(Value::Other);
            }
            b'b' => {
                let (state, _object) = (self.pop()?, self.pop()?);
                self.stack.push(state);
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = Value::storage(&id).ok_or("a storage is of no known kind")?;
                self.stack.push(storage);
            }
            // Values to be used again.
            b'q' => {
                let [place] = self.take()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.take()?);
                self.remember(place)?;
            }
            b'h' => {
                let [place] = self.take()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.take()?);
                self.recall(place)?;
            }
            other => return Err(format!("its pickle has an unknown code {other:#04x}")),
        }
        Ok(())
    }

    fn slice(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(short)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        let line = self.slice(end.ok_or_else(short)?)?;
        self.take::<1>()?;
        text(line)
    }

    fn pop(&mut self) -> Result<Value, Fault> {
        self.stack.pop().ok_or_else(short)
    }

    fn above_mark(&mut self) -> Result<Vec<Value>, Fault> {
        let mark = |value: &Value| matches!(value, Value::Mark);
        let place = self.stack.iter().rposition(mark).ok_or_else(short)?;
        let values = self.stack.split_off(place + 1);
        self.stack.pop();
        Ok(values)
    }

    /// Puts keys and values, in turn, into the dictionary on the stack; entries without a text key have no tensors.
    fn put(&mut self, entries: Vec<Value>) -> Result<(), Fault> {
        let Some(Value::Object(object, depth)) = self.stack.last_mut() else {
            return Err("its pickle has entries without a dictionary".to_owned());
        };
        *depth = depth_over(entries.iter())?.max(*depth);
        // Each change of a dictionary that is stored for use again copies it.
        if Rc::strong_count(object) > 1 {
            self.copies += object.len();
        }
        if self.copies > MOST_COPIES {
            return Err("its pickle copies too much".to_owned());
        }
        let object = Rc::make_mut(object);
        let mut entries = entries.into_iter();
        while let (Some(key), Some(value)) = (entries.next(), entries.next()) {
            if let Value::Text(key) = key {
                object.push((key, value));
            }
        }
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), Fault> {
        let value = self.stack.last().ok_or_else(short)?.clone();
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), Fault> {
        let value = self.memo.get(&place).ok_or("its pickle recalls nothing")?;
        self.stack.push(value.clone());
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn short() -> Fault {
    "its pickle ends too soon".to_owned()
}
