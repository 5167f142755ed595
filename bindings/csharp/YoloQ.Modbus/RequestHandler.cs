// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>Answers one request: protocol data unit in, protocol data unit out. Knows no sockets.</summary>
    internal sealed class RequestHandler
    {
        private const byte IllegalFunction = 1, IllegalAddress = 2, IllegalValue = 3, DeviceFailure = 4, NoSuchUnit = 11;

        private readonly RegisterBank bank;
        private readonly object peer;

        internal RequestHandler(RegisterBank bank, object peer)
        {
            this.bank = bank;
            this.peer = peer;
        }

        internal static int WrongUnit(byte function, byte[] response, int at)
        {
            return Refuse(function, NoSuchUnit, response, at);
        }

        /// <summary>Writes the answer at response[at]; returns its length. There are at least MaxPdu bytes of room.</summary>
        internal int Answer(byte[] request, int start, int length, byte[] response, int at)
        {
            byte function = request[start];
            byte code;
            int written = 0;
            try
            {
                code = Execute(request, start, length, response, at, ref written);
            }
            catch (Exception)  // a handler of the bank's event failed: the peer is told, the connection lives
            {
                code = DeviceFailure;
            }
            if (code != 0)
            {
                return Refuse(function, code, response, at);
            }
            response[at] = function;
            return written;
        }

        private static int Refuse(byte function, byte code, byte[] response, int at)
        {
            response[at] = (byte)(function | 0x80);
            response[at + 1] = code;
            return 2;
        }

        private byte Execute(byte[] request, int start, int length, byte[] response, int at, ref int written)
        {
            byte function = request[start];
            bool known = function >= Function.ReadCoils && function <= Function.WriteSingleRegister;
            if (!known && function != Function.WriteMultipleCoils && function != Function.WriteMultipleRegisters)
            {
                return IllegalFunction;
            }
            if (length < 5)
            {
                return IllegalValue;
            }
            int address = Frame.Get(request, start + 1);
            int value = Frame.Get(request, start + 3);
            if (function >= Function.WriteMultipleCoils)
            {
                written = 5;
                return WriteMany(function, address, value, request, start, length, response, at);
            }
            if (length != 5)
            {
                return IllegalValue;
            }
            if (function >= Function.WriteSingleCoil)
            {
                written = 5;
                return WriteOne(function, address, value, response, at);
            }
            return Read(function, address, value, response, at, ref written);
        }

        private byte Read(byte function, int address, int count, byte[] response, int at, ref int written)
        {
            bool bits = function <= Function.ReadDiscreteInputs;
            if (count < 1 || count > (bits ? Limit.ReadBits : Limit.ReadRegisters))
            {
                return IllegalValue;
            }
            int bytes = bits ? (count + 7) / 8 : 2 * count;
            bool done = bits
                ? bank.TryReadBits(function == Function.ReadDiscreteInputs, address, count, response, at + 2)
                : bank.TryRead(address, count, response, at + 2);
            response[at + 1] = (byte)bytes;
            written = 2 + bytes;
            return done ? (byte)0 : IllegalAddress;
        }

        private byte WriteOne(byte function, int address, int value, byte[] response, int at)
        {
            bool done;
            if (function == Function.WriteSingleCoil)
            {
                if (value != 0 && value != 0xFF00)
                {
                    return IllegalValue;
                }
                done = bank.TryWriteBits(address, new[] { value != 0 }, peer);
            }
            else
            {
                done = bank.TryWrite(address, new[] { (ushort)value }, peer);
            }
            Frame.Put(response, at + 1, address);
            Frame.Put(response, at + 3, value);
            return done ? (byte)0 : IllegalAddress;
        }

        private byte WriteMany(
            byte function, int address, int count, byte[] request, int start, int length, byte[] response, int at)
        {
            bool bits = function == Function.WriteMultipleCoils;
            int bytes = bits ? (count + 7) / 8 : 2 * count;
            bool fits = count >= 1 && count <= (bits ? Limit.WriteBits : Limit.WriteRegisters);
            if (!fits || length != 6 + bytes || request[start + 5] != bytes)
            {
                return IllegalValue;
            }
            bool done = bits
                ? bank.TryWriteBits(address, Bits(request, start + 6, count), peer)
                : bank.TryWrite(address, Registers(request, start + 6, count), peer);
            Frame.Put(response, at + 1, address);
            Frame.Put(response, at + 3, count);
            return done ? (byte)0 : IllegalAddress;
        }

        private static bool[] Bits(byte[] data, int at, int count)
        {
            var bits = new bool[count];
            for (int i = 0; i < count; i++)
            {
                bits[i] = (data[at + i / 8] >> (i % 8) & 1) != 0;
            }
            return bits;
        }

        private static ushort[] Registers(byte[] data, int at, int count)
        {
            var values = new ushort[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = Frame.Get(data, at + 2 * i);
            }
            return values;
        }
    }
}
