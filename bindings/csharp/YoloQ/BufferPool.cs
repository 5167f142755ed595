// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;

namespace YoloQ
{
    /// <summary>Result buffers of calls, used again by later calls: no garbage per frame.</summary>
    internal sealed class BufferPool
    {
        internal static readonly Detection[] Empty = new Detection[0];
        private const int Most = 64; // as many as calls can run at once

        private readonly Stack<Detection[]> _free = new Stack<Detection[]>();

        /// <summary>A buffer of at least `length` detections.</summary>
        internal Detection[] Rent(int length)
        {
            lock (_free)
            {
                if (_free.Count > 0)
                {
                    Detection[] buffer = _free.Pop();
                    if (buffer.Length >= length) return buffer; // one that became too small is dropped
                }
            }
            return new Detection[length];
        }

        internal void Return(Detection[] buffer)
        {
            lock (_free)
            {
                if (_free.Count < Most) _free.Push(buffer);
            }
        }
    }
}
