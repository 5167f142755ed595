// SPDX-License-Identifier: Apache-2.0
using System;
using System.Text;

namespace YoloQ.Native
{
    /// <summary>Text to and from the C library, which speaks UTF-8 on every platform.</summary>
    internal static unsafe class Utf8
    {
        private static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        /// <summary>NUL-terminated bytes of a text; null for null.</summary>
        internal static byte[] Bytes(string name, string text)
        {
            if (text == null) return null;
            if (text.IndexOf('\0') >= 0)
                throw new InvalidArgumentException(name + " holds a NUL character: \"" + text.Replace('\0', '?') + "\"");
            try
            {
                var bytes = new byte[Strict.GetByteCount(text) + 1];
                Strict.GetBytes(text, 0, text.Length, bytes, 0);
                return bytes;
            }
            catch (EncoderFallbackException)
            {
                throw new InvalidArgumentException(name + " is not valid Unicode (half of a surrogate pair): rename it");
            }
        }

        /// <summary>The text at a C string; "" for NULL.</summary>
        internal static string Text(IntPtr text)
        {
            return text == IntPtr.Zero ? "" : Text((byte*)text, int.MaxValue);
        }

        /// <summary>The text of a field of at most `size` bytes.</summary>
        internal static string Text(byte* field, int size)
        {
            int length = 0;
            while (length < size && field[length] != 0) ++length;
            return length == 0 ? "" : Encoding.UTF8.GetString(field, length);
        }
    }
}
