// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.WinForms.Inspection
{
    public enum ReadResult
    {
        /// <summary>The buffer holds a new picture.</summary>
        Picture,
        /// <summary>No picture came within the timeout; ask again.</summary>
        Nothing,
        /// <summary>There will be no more pictures.</summary>
        End
    }

    /// <summary>
    /// Where pictures come from: the one place to connect a camera. Every method but the constructor is called on the
    /// inspection thread, one at a time. A camera SDK that calls back on a thread of its own keeps the newest picture
    /// in a buffer of its own and wakes Read.
    /// </summary>
    public interface IFrameSource : IDisposable
    {
        /// <summary>For the title: a file, a folder, a camera's serial number.</summary>
        string Name { get; }

        /// <summary>true: one picture for ever; start inspects it again and again.</summary>
        bool IsStill { get; }

        /// <summary>
        /// Reads the next picture into the buffer (see <see cref="PixelBuffer.CopyFrom(IntPtr, long, int, int, PixelFormat)"/>).
        /// </summary>
        /// <param name="timeoutMs">how long to wait at most, in milliseconds; keep to it, or Stop has to wait</param>
        /// <param name="name">the picture's name for the screen and the NG record</param>
        /// <exception cref="FrameSourceException">this picture cannot be had; the next Read may succeed</exception>
        ReadResult Read(PixelBuffer into, int timeoutMs, out string name);
    }

    /// <summary>A picture that cannot be had; the message says why, in one line.</summary>
    [Serializable]
    public sealed class FrameSourceException : Exception
    {
        public FrameSourceException(string message, Exception inner = null) : base(message, inner)
        {
        }
    }
}
