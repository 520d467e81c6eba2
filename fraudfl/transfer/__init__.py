"""What crosses a bank's border: codecs, packing, and the meter that counts the bytes."""
