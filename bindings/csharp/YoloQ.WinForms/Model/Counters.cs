// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.WinForms.Model
{
    /// <summary>One class's counts since the last reset.</summary>
    public struct ClassCount
    {
        /// <summary>Objects in the newest picture.</summary>
        public int Now;
        /// <summary>Objects in all pictures.</summary>
        public long Objects;
        /// <summary>Pictures in which the class was seen and no rule about it was broken.</summary>
        public long Ok;
        /// <summary>Pictures in which a rule about it was broken.</summary>
        public long Ng;
    }

    /// <summary>OK and NG, in all and per class. Thread-safe.</summary>
    public sealed class Counters
    {
        private readonly object _gate = new object();
        private ClassCount[] _classes = new ClassCount[0];
        private long _ok, _ng, _errors;

        public long Ok { get { lock (_gate) { return _ok; } } }
        public long Ng { get { lock (_gate) { return _ng; } } }
        /// <summary>Pictures that could not be inspected.</summary>
        public long Errors { get { lock (_gate) { return _errors; } } }

        /// <summary>All counts to zero, for a package of so many classes.</summary>
        public void Reset(int classCount)
        {
            lock (_gate)
            {
                _classes = new ClassCount[classCount];
                _ok = _ng = _errors = 0;
            }
        }

        /// <summary>All counts to zero, the classes stay.</summary>
        public void Reset()
        {
            Reset(ClassCount);
        }

        public int ClassCount { get { lock (_gate) { return _classes.Length; } } }

        public void AddError()
        {
            lock (_gate)
            {
                _errors++;
            }
        }

        /// <param name="counted">false: only what is seen now changes, as when a slider moves on a still picture.</param>
        public void Add(Detection[] found, int count, Verdict verdict, bool counted)
        {
            lock (_gate)
            {
                for (int i = 0; i < _classes.Length; i++)
                {
                    _classes[i].Now = 0;
                }
                for (int i = 0; i < count; i++)
                {
                    if (found[i].ClassId >= 0 && found[i].ClassId < _classes.Length)
                    {
                        _classes[found[i].ClassId].Now++;
                    }
                }
                if (counted)
                {
                    Count(verdict);
                }
            }
        }

        /// <summary>Copies the classes' counts; grows the array if need be. Returns how many classes there are.</summary>
        public int CopyTo(ref ClassCount[] into)
        {
            lock (_gate)
            {
                if (into.Length < _classes.Length)
                {
                    into = new ClassCount[_classes.Length];
                }
                Array.Copy(_classes, into, _classes.Length);
                return _classes.Length;
            }
        }

        private void Count(Verdict verdict)
        {
            _ok += verdict.Ok ? 1 : 0;
            _ng += verdict.Ok ? 0 : 1;
            for (int i = 0; i < _classes.Length; i++)
            {
                bool blamed = verdict.IsBlamed(i);
                _classes[i].Objects += _classes[i].Now;
                _classes[i].Ng += blamed ? 1 : 0;
                _classes[i].Ok += !blamed && _classes[i].Now > 0 ? 1 : 0;
            }
        }
    }
}
