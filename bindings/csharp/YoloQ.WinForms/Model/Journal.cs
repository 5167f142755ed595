// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;

namespace YoloQ.WinForms.Model
{
    public enum Severity
    {
        Info = 0,
        Good = 1,
        Warning = 2,
        Error = 3
    }

    /// <summary>One event. Holds the text's key, so that a change of language changes what was logged before, too.</summary>
    public sealed class JournalEntry
    {
        public JournalEntry(DateTime time, Severity level, string key, object[] arguments)
        {
            Time = time;
            Level = level;
            Key = key;
            Arguments = arguments;
            Repeats = 1;
        }

        public DateTime Time { get; internal set; }
        public Severity Level { get; private set; }
        public string Key { get; private set; }
        public object[] Arguments { get; private set; }
        /// <summary>How often it came in a row.</summary>
        public int Repeats { get; internal set; }

        public string Text
        {
            get { return Texts.Format(Key, Arguments) + (Repeats > 1 ? " ×" + Repeats : ""); }
        }

        internal bool IsRepeatedBy(Severity level, string key, object[] arguments)
        {
            if (level != Level || key != Key || arguments.Length != Arguments.Length)
            {
                return false;
            }
            for (int i = 0; i < arguments.Length; i++)
            {
                if (!Equals(arguments[i], Arguments[i]))
                {
                    return false;
                }
            }
            return true;
        }
    }

    /// <summary>The newest events, a bounded number of them; the same event in a row is counted, not repeated. Thread-safe.</summary>
    public sealed class Journal
    {
        private readonly object _gate = new object();
        private readonly JournalEntry[] _ring;
        private int _count;
        private int _next;
        private long _version;

        public Journal(int capacity = 500)
        {
            _ring = new JournalEntry[capacity];
        }

        /// <summary>Changes with every event: tells a view whether to draw again.</summary>
        public long Version { get { lock (_gate) { return _version; } } }

        public int Count { get { lock (_gate) { return _count; } } }

        public void Add(Severity level, string key, params object[] arguments)
        {
            lock (_gate)
            {
                _version++;
                JournalEntry last = _count == 0 ? null : _ring[(_next + _ring.Length - 1) % _ring.Length];
                if (last != null && last.IsRepeatedBy(level, key, arguments))
                {
                    last.Repeats++;
                    last.Time = DateTime.Now;
                    return;
                }
                _ring[_next] = new JournalEntry(DateTime.Now, level, key, arguments);
                _next = (_next + 1) % _ring.Length;
                _count = Math.Min(_count + 1, _ring.Length);
            }
        }

        /// <summary>Replaces the list's content by all events, the oldest first.</summary>
        public void CopyTo(List<JournalEntry> into)
        {
            into.Clear();
            lock (_gate)
            {
                for (int i = _count; i > 0; i--)
                {
                    into.Add(_ring[(_next + _ring.Length - i) % _ring.Length]);
                }
            }
        }
    }
}
