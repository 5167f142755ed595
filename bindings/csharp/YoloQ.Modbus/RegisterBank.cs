// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>A peer has written registers or coils of a bank.</summary>
    public sealed class RegistersWrittenEventArgs : EventArgs
    {
        /// <summary>The first register written, a 0-based address.</summary>
        public int Address { get; }

        /// <summary>How many registers were written.</summary>
        public int Count { get; }

        /// <summary>Who wrote: the connection, an object that is only good for comparing.</summary>
        public object Peer { get; }

        internal RegistersWrittenEventArgs(int address, int count, object peer)
        {
            Address = address;
            Count = count;
            Peer = peer;
        }
    }

    /// <summary>
    /// The 16-bit words that Modbus peers see. Holding registers (functions 3, 6, 16) and input registers (4) are the same
    /// words; coils (1, 5, 15) and discrete inputs (2) are bits of some of them. One lock covers it all: a request sees, and
    /// makes, a change whole or not at all. Thread-safe.
    /// </summary>
    public sealed class RegisterBank
    {
        private readonly object gate = new object();
        private readonly ushort[] words;
        private readonly int writableStart;
        private readonly int writableEnd;
        private readonly int[] coilWords;
        private readonly int[] inputWords;

        /// <summary>Makes a bank of zeros.</summary>
        /// <param name="size">How many registers, 1 to 65536.</param>
        /// <param name="writableStart">The first register that peers may write.</param>
        /// <param name="writableCount">How many they may write.</param>
        /// <param name="coilWords">Coil c is bit c % 16 of register coilWords[c / 16].</param>
        /// <param name="inputWords">The same for discrete inputs.</param>
        public RegisterBank(int size, int writableStart, int writableCount, int[] coilWords, int[] inputWords)
        {
            if (size < 1 || size > 65536)
            {
                throw new ArgumentOutOfRangeException("size", "a bank has 1 to 65536 registers");
            }
            if (writableStart < 0 || writableCount < 0 || writableStart + writableCount > size)
            {
                throw new ArgumentOutOfRangeException("writableStart", "the writable registers must lie in the bank");
            }
            words = new ushort[size];
            this.writableStart = writableStart;
            writableEnd = writableStart + writableCount;
            this.coilWords = CheckedWords(coilWords, "coilWords");
            this.inputWords = CheckedWords(inputWords, "inputWords");
        }

        /// <summary>Raised after a peer's write, on the connection's thread and inside the lock: what the handler changes
        /// is seen together with the write. It must be quick and wait for nothing.</summary>
        public event EventHandler<RegistersWrittenEventArgs> Written;

        /// <summary>How many registers there are.</summary>
        public int Size
        {
            get { return words.Length; }
        }

        /// <summary>One register, by 0-based address. Not limited to what peers may write; raises no event.</summary>
        /// <param name="address">The 0-based address.</param>
        public ushort this[int address]
        {
            get
            {
                lock (gate)
                {
                    return words[address];
                }
            }
            set
            {
                lock (gate)
                {
                    words[address] = value;
                }
            }
        }

        /// <summary>A copy of `count` registers as they were at one moment.</summary>
        /// <param name="address">The 0-based address of the first.</param>
        /// <param name="count">How many.</param>
        public ushort[] Read(int address, int count)
        {
            var copy = new ushort[count];
            lock (gate)
            {
                Array.Copy(words, address, copy, 0, count);
            }
            return copy;
        }

        /// <summary>Sets registers at once: no peer sees a part of it. Raises no event.</summary>
        /// <param name="address">The 0-based address of the first.</param>
        /// <param name="values">The values.</param>
        public void Write(int address, ushort[] values)
        {
            lock (gate)
            {
                Array.Copy(values, 0, words, address, values.Length);
            }
        }

        /// <summary>Runs several reads and writes as one: no peer sees a part of it.</summary>
        /// <param name="change">What to do; quick, and waiting for nothing.</param>
        public void Update(Action change)
        {
            lock (gate)
            {
                change();
            }
        }

        /// <summary>A peer's read of registers, as big-endian bytes into `target`. False: not all of them exist.</summary>
        internal bool TryRead(int address, int count, byte[] target, int at)
        {
            if (address + count > words.Length)
            {
                return false;
            }
            lock (gate)
            {
                for (int i = 0; i < count; i++)
                {
                    Frame.Put(target, at + 2 * i, words[address + i]);
                }
            }
            return true;
        }

        /// <summary>A peer's read of coils or discrete inputs, packed from the lowest bit up. False: not all exist.</summary>
        internal bool TryReadBits(bool inputs, int address, int count, byte[] target, int at)
        {
            int[] map = inputs ? inputWords : coilWords;
            if (address + count > 16 * map.Length)
            {
                return false;
            }
            Array.Clear(target, at, (count + 7) / 8);
            lock (gate)
            {
                for (int i = 0; i < count; i++)
                {
                    int bit = (words[map[(address + i) / 16]] >> ((address + i) % 16)) & 1;
                    target[at + i / 8] |= (byte)(bit << (i % 8));
                }
            }
            return true;
        }

        /// <summary>A peer's write. False: not all of them exist and may be written; then nothing is.</summary>
        internal bool TryWrite(int address, ushort[] values, object peer)
        {
            if (address < writableStart || address + values.Length > writableEnd)
            {
                return false;
            }
            lock (gate)
            {
                Array.Copy(values, 0, words, address, values.Length);
                Raise(address, values.Length, peer);
            }
            return true;
        }

        /// <summary>A peer's write of coils, one event for all of them. False: as for TryWrite.</summary>
        internal bool TryWriteBits(int address, bool[] values, object peer)
        {
            if (address + values.Length > 16 * coilWords.Length)
            {
                return false;
            }
            int low = int.MaxValue, high = 0;
            for (int word = address / 16; word <= (address + values.Length - 1) / 16; word++)
            {
                low = Math.Min(low, coilWords[word]);
                high = Math.Max(high, coilWords[word]);
            }
            if (low < writableStart || high >= writableEnd)
            {
                return false;
            }
            lock (gate)
            {
                for (int i = 0; i < values.Length; i++)
                {
                    int word = coilWords[(address + i) / 16];
                    int mask = 1 << ((address + i) % 16);
                    words[word] = (ushort)(values[i] ? words[word] | mask : words[word] & ~mask);
                }
                Raise(low, high - low + 1, peer);
            }
            return true;
        }

        private void Raise(int address, int count, object peer)
        {
            EventHandler<RegistersWrittenEventArgs> handler = Written;
            if (handler != null)
            {
                handler(this, new RegistersWrittenEventArgs(address, count, peer));
            }
        }

        private int[] CheckedWords(int[] map, string name)
        {
            var copy = map == null ? new int[0] : (int[])map.Clone();
            foreach (int word in copy)
            {
                if (word < 0 || word >= words.Length)
                {
                    throw new ArgumentOutOfRangeException(name, "register " + word + " is not in the bank");
                }
            }
            return copy;
        }
    }
}
