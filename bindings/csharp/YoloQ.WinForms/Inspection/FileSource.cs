// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing;
using System.IO;
using System.Linq;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>A picture file, or a folder whose pictures follow each other like a film.</summary>
    public sealed class FileSource : IFrameSource
    {
        private static readonly string[] Extensions = { ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff" };

        private readonly string _path;
        private readonly Func<bool> _loop;
        private string[] _files;
        private int _next;
        private string _loaded;
        private readonly PixelBuffer _still = new PixelBuffer();

        /// <param name="path">a picture file or a folder</param>
        /// <param name="loop">asked at the end of a folder: begin again?</param>
        /// <exception cref="FrameSourceException">there is no such file or folder, or no picture in it</exception>
        public FileSource(string path, Func<bool> loop)
        {
            _path = path;
            _loop = loop;
            IsStill = File.Exists(path);
            _files = IsStill ? new[] { path } : List(path);
            Name = Path.GetFileName(path.TrimEnd(Path.DirectorySeparatorChar, Path.AltDirectorySeparatorChar));
        }

        public string Name { get; private set; }

        public bool IsStill { get; private set; }

        public int Count
        {
            get { return _files.Length; }
        }

        public static bool IsPicture(string path)
        {
            return Extensions.Contains(Path.GetExtension(path).ToLowerInvariant());
        }

        public ReadResult Read(PixelBuffer into, int timeoutMs, out string name)
        {
            if (_next >= _files.Length)
            {
                name = "";
                if (!IsStill && !_loop())
                {
                    _next = 0;
                    return ReadResult.End;
                }
                _files = IsStill ? _files : List(_path); // pictures may have come and gone
                _next = 0;
            }
            string file = _files[_next++];
            name = Path.GetFileName(file);
            if (!IsStill)
            {
                Load(file, into);
                return ReadResult.Picture;
            }
            if (_loaded != file)
            {
                Load(file, _still);
                _loaded = file;
            }
            into.CopyFrom(_still);
            return ReadResult.Picture;
        }

        /// <summary>The next picture is the first: what was only shown is inspected, too.</summary>
        public void Rewind()
        {
            _next = 0;
        }

        public void Dispose()
        {
            _still.Dispose();
        }

        private static void Load(string file, PixelBuffer into)
        {
            try
            {
                using (var stream = File.OpenRead(file)) // Image.FromFile would keep the file locked
                using (var bitmap = new Bitmap(stream))
                {
                    into.CopyFrom(bitmap);
                }
            }
            catch (Exception error) when (!(error is OutOfMemoryException) || File.Exists(file))
            {
                // GDI+ says "out of memory" and "parameter is not valid" of any damaged picture
                throw new FrameSourceException(Path.GetFileName(file) + ": " + error.Message, error);
            }
        }

        private static string[] List(string folder)
        {
            string[] files;
            try
            {
                files = Directory.EnumerateFiles(folder).Where(IsPicture).ToArray();
            }
            catch (Exception error) when (error is IOException || error is UnauthorizedAccessException || error is ArgumentException)
            {
                throw new FrameSourceException(error.Message, error);
            }
            if (files.Length == 0)
            {
                throw new FrameSourceException(folder + ": no pictures (" + string.Join(" ", Extensions) + ")");
            }
            Array.Sort(files, new NaturalOrder());
            return files;
        }
    }

    /// <summary>frame2 before frame10.</summary>
    public sealed class NaturalOrder : IComparer<string>
    {
        public int Compare(string a, string b)
        {
            int i = 0, k = 0;
            while (i < a.Length && k < b.Length)
            {
                int order;
                if (char.IsDigit(a[i]) && char.IsDigit(b[k]))
                {
                    string left = Digits(a, ref i), right = Digits(b, ref k);
                    order = left.Length != right.Length ? left.Length - right.Length : string.CompareOrdinal(left, right);
                }
                else
                {
                    order = char.ToUpperInvariant(a[i++]) - char.ToUpperInvariant(b[k++]);
                }
                if (order != 0)
                {
                    return order;
                }
            }
            int rest = (a.Length - i) - (b.Length - k);
            return rest != 0 ? rest : string.CompareOrdinal(a, b);
        }

        private static string Digits(string text, ref int at)
        {
            int start = at;
            while (at < text.Length && char.IsDigit(text[at]))
            {
                at++;
            }
            return text.Substring(start, at - start).TrimStart('0');
        }
    }
}
