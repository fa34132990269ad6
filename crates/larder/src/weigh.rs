//! How many bytes a value takes: an estimate made by serialising it into nothing.

use std::fmt::{self, Display};

use serde::{
    Serialize,
    ser::{
        self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant, Serializer,
    },
};

/// The size of `value` and of what it owns on the heap.
///
/// Strings count their length, sequences and maps their elements at the size of the fields that
/// are serialised, each heap block in steps of 16 bytes as allocators give them. Spare capacity,
/// skipped fields and shared pointers are not seen.
pub(crate) fn estimate<T: Serialize>(value: &T) -> usize {
    let heap = value.serialize(Measure).map_or(0, |size| size.heap);
    block(size_of::<T>() + 2 * size_of::<usize>()) + heap
}

/// What a serialised part takes in its parent, and beyond it.
#[derive(Clone, Copy, Default)]
struct Size {
    inline: usize,
    heap: usize,
}

/// The bytes that an allocator takes for a block: its header and rounding.
fn block(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

fn plain(inline: usize) -> Result<Size, NotMeasured> {
    Ok(Size { inline, heap: 0 })
}

/// A `String`, `Vec` or the like: three words here, the contents elsewhere.
fn owned(contents: usize) -> Result<Size, NotMeasured> {
    Ok(Size { inline: 3 * size_of::<usize>(), heap: block(contents) })
}

struct Measure;

/// A type whose `Serialize` fails is charged its own size only.
#[derive(Debug)]
struct NotMeasured;

impl Display for NotMeasured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not measured")
    }
}

impl std::error::Error for NotMeasured {}

impl ser::Error for NotMeasured {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, _: $type) -> Result<Size, NotMeasured> {
            plain(size_of::<$type>())
        }
    )*};
}

impl Serializer for Measure {
    type Ok = Size;
    type Error = NotMeasured;
    type SerializeSeq = Elements;
    type SerializeTuple = Fields;
    type SerializeTupleStruct = Fields;
    type SerializeTupleVariant = Fields;
    type SerializeMap = Elements;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    plain!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char);

    fn serialize_str(self, text: &str) -> Result<Size, NotMeasured> {
        owned(text.len())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Size, NotMeasured> {
        owned(bytes.len())
    }

    fn serialize_none(self) -> Result<Size, NotMeasured> {
        plain(2 * size_of::<usize>())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Size, NotMeasured> {
        let size = value.serialize(Self)?;
        // Types without a spare bit pattern need a tag beside them.
        let tag = if size.inline <= size_of::<u64>() { size.inline } else { 0 };
        Ok(Size { inline: size.inline + tag, ..size })
    }

    fn serialize_unit(self) -> Result<Size, NotMeasured> {
        plain(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Size, NotMeasured> {
        plain(0)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Size, NotMeasured> {
        plain(1)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Size, NotMeasured> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Size, NotMeasured> {
        let size = value.serialize(self)?;
        Ok(Size { inline: size.inline + size_of::<usize>(), ..size })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements, NotMeasured> {
        Ok(Elements::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<Fields, NotMeasured> {
        Ok(Fields::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Fields, NotMeasured> {
        Ok(Fields::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields, NotMeasured> {
        Ok(Fields::default())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Elements, NotMeasured> {
        Ok(Elements::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, NotMeasured> {
        Ok(Fields::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields, NotMeasured> {
        Ok(Fields::default())
    }
}

/// A sequence or map: its elements' inline parts share one heap block.
#[derive(Default)]
struct Elements(Size);

impl Elements {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotMeasured> {
        let size = value.serialize(Measure)?;
        self.0.inline += size.inline;
        self.0.heap += size.heap;
        Ok(())
    }

    fn size(self) -> Result<Size, NotMeasured> {
        let own = owned(self.0.inline)?;
        Ok(Size { inline: own.inline, heap: own.heap + self.0.heap })
    }
}

impl SerializeSeq for Elements {
    type Ok = Size;
    type Error = NotMeasured;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotMeasured> {
        self.add(value)
    }

    fn end(self) -> Result<Size, NotMeasured> {
        self.size()
    }
}

impl SerializeMap for Elements {
    type Ok = Size;
    type Error = NotMeasured;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotMeasured> {
        self.add(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotMeasured> {
        self.add(value)
    }

    fn end(self) -> Result<Size, NotMeasured> {
        self.size()
    }
}

/// A struct or tuple: its fields lie side by side, aligned to words where they are that large.
#[derive(Default)]
struct Fields(Size);

impl Fields {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotMeasured> {
        let size = value.serialize(Measure)?;
        self.0.inline += size.inline;
        self.0.heap += size.heap;
        Ok(())
    }

    fn size(self) -> Result<Size, NotMeasured> {
        let align = if self.0.inline < size_of::<usize>() { 1 } else { size_of::<usize>() };
        Ok(Size { inline: self.0.inline.next_multiple_of(align), ..self.0 })
    }
}

macro_rules! fields {
    ($($trait:ident: $method:ident $(($name:ty))?),*) => {$(
        impl $trait for Fields {
            type Ok = Size;
            type Error = NotMeasured;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), NotMeasured> {
                self.add(value)
            }

            fn end(self) -> Result<Size, NotMeasured> {
                self.size()
            }
        }
    )*};
}
fields!(SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field,
    SerializeStruct: serialize_field(&'static str), SerializeStructVariant: serialize_field(&'static str));
