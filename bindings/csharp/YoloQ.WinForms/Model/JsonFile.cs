// SPDX-License-Identifier: Apache-2.0
using System;
using System.IO;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;

namespace YoloQ.WinForms.Model
{
    /// <summary>Objects as indented JSON; files are written beside their place and renamed, so none is ever half there.</summary>
    public static class JsonFile
    {
        /// <summary>The object as UTF-8 JSON without a byte order mark.</summary>
        public static byte[] ToBytes<T>(T value, bool indent = true)
        {
            using (var memory = new MemoryStream())
            {
                using (var writer = JsonReaderWriterFactory.CreateJsonWriter(memory, Encoding.UTF8, false, indent))
                {
                    new DataContractJsonSerializer(typeof(T)).WriteObject(writer, value);
                }
                return memory.ToArray();
            }
        }

        /// <summary>Reads an object; throws what the serializer or the file system throws.</summary>
        public static T Read<T>(string path)
        {
            string text = File.ReadAllText(path, Encoding.UTF8).Trim();
            if (!text.StartsWith("{", StringComparison.Ordinal) || !text.EndsWith("}", StringComparison.Ordinal))
            {
                throw new SerializationException("it is no JSON object, or cut off"); // Mono's serializer takes both
            }
            using (var memory = new MemoryStream(Encoding.UTF8.GetBytes(text)))
            {
                return (T)new DataContractJsonSerializer(typeof(T)).ReadObject(memory);
            }
        }

        /// <summary>Writes a file as a whole or not at all. The folder must exist.</summary>
        public static void Write(string path, byte[] content)
        {
            string part = path + ".part";
            using (var stream = new FileStream(part, FileMode.Create, FileAccess.Write))
            {
                stream.Write(content, 0, content.Length);
                stream.Flush(true);
            }
            Rename(part, path);
        }

        /// <summary>Puts a finished file in its place, over an older one if there is one.</summary>
        public static void Rename(string part, string path)
        {
            if (File.Exists(path))
            {
                File.Replace(part, path, null);
            }
            else
            {
                File.Move(part, path);
            }
        }
    }
}
