// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>How a 32-bit value lies in two registers. A is its most significant byte; the first register is written
    /// first, its high byte first: ABCD is registers AB, CD.</summary>
    public enum WordOrder
    {
        /// <summary>High word first: what Modbus devices call big-endian. Siemens, most others.</summary>
        ABCD = 0,

        /// <summary>Low word first: Mitsubishi, Omron, Inovance, Delta, Schneider M221 and many more.</summary>
        CDAB = 1,

        /// <summary>High word first, bytes swapped.</summary>
        BADC = 2,

        /// <summary>Low word first, bytes swapped: little-endian throughout.</summary>
        DCBA = 3
    }

    /// <summary>Values to registers, and back.</summary>
    public static class Words
    {
        /// <summary>Stores a 32-bit value in two registers.</summary>
        /// <param name="target">The registers.</param>
        /// <param name="at">The first of the two.</param>
        /// <param name="value">The value.</param>
        /// <param name="order">The order of its bytes.</param>
        public static void PutUInt32(ushort[] target, int at, uint value, WordOrder order)
        {
            var high = (ushort)(value >> 16);
            var low = (ushort)value;
            if (order == WordOrder.BADC || order == WordOrder.DCBA)
            {
                high = Swap(high);
                low = Swap(low);
            }
            bool lowFirst = order == WordOrder.CDAB || order == WordOrder.DCBA;
            target[at] = lowFirst ? low : high;
            target[at + 1] = lowFirst ? high : low;
        }

        /// <summary>Reads a 32-bit value from two registers.</summary>
        /// <param name="source">The registers.</param>
        /// <param name="at">The first of the two.</param>
        /// <param name="order">The order of its bytes.</param>
        public static uint GetUInt32(ushort[] source, int at, WordOrder order)
        {
            bool lowFirst = order == WordOrder.CDAB || order == WordOrder.DCBA;
            ushort high = source[lowFirst ? at + 1 : at];
            ushort low = source[lowFirst ? at : at + 1];
            if (order == WordOrder.BADC || order == WordOrder.DCBA)
            {
                high = Swap(high);
                low = Swap(low);
            }
            return ((uint)high << 16) | low;
        }

        /// <summary>Stores an IEEE 754 float in two registers.</summary>
        /// <param name="target">The registers.</param>
        /// <param name="at">The first of the two.</param>
        /// <param name="value">The value.</param>
        /// <param name="order">The order of its bytes.</param>
        public static void PutFloat(ushort[] target, int at, float value, WordOrder order)
        {
            PutUInt32(target, at, BitConverter.ToUInt32(BitConverter.GetBytes(value), 0), order);
        }

        /// <summary>Reads an IEEE 754 float from two registers.</summary>
        /// <param name="source">The registers.</param>
        /// <param name="at">The first of the two.</param>
        /// <param name="order">The order of its bytes.</param>
        public static float GetFloat(ushort[] source, int at, WordOrder order)
        {
            return BitConverter.ToSingle(BitConverter.GetBytes(GetUInt32(source, at, order)), 0);
        }

        /// <summary>value * scale, rounded half to even, cut to [low, high]; NaN gives 0.</summary>
        internal static long Fixed(double value, double scale, long low, long high)
        {
            double scaled = Math.Round(value * scale, MidpointRounding.ToEven);
            return double.IsNaN(scaled) ? 0 : scaled <= low ? low : scaled >= high ? high : (long)scaled;
        }

        private static ushort Swap(ushort word)
        {
            return (ushort)((word << 8) | (word >> 8));
        }
    }
}
