// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.WinForms.Model
{
    /// <summary>The newest values of a measurement, for a chart. Thread-safe, fixed size.</summary>
    public sealed class Series
    {
        private readonly object _gate = new object();
        private readonly float[] _ring;
        private int _count;
        private int _next;

        public Series(int capacity)
        {
            _ring = new float[capacity];
        }

        public int Capacity
        {
            get { return _ring.Length; }
        }

        public void Add(float value)
        {
            lock (_gate)
            {
                _ring[_next] = value;
                _next = (_next + 1) % _ring.Length;
                _count = Math.Min(_count + 1, _ring.Length);
            }
        }

        /// <summary>Copies the values, the oldest first, into an array of at least Capacity; returns how many there are.</summary>
        public int CopyTo(float[] into)
        {
            lock (_gate)
            {
                for (int i = 0; i < _count; i++)
                {
                    into[i] = _ring[(_next + _ring.Length - _count + i) % _ring.Length];
                }
                return _count;
            }
        }
    }
}
