// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace YoloQ.Modbus
{
    /// <summary>
    /// A Modbus TCP client (master) that connects by itself and again after a failure. A call while the connection is down
    /// and the back-off (0.1 s, doubling up to <see cref="MaxBackOff"/>) runs fails at once. Thread-safe: calls wait for each
    /// other. Addresses are 0-based, as in the protocol: holding register 40001 is 0.
    /// </summary>
    public sealed class ModbusClient : IDisposable
    {
        private const int FirstBackOffMilliseconds = 100;
        private const int TimeoutsUntilReconnect = 3;

        private readonly object gate = new object();
        private readonly string host;
        private readonly int port;
        private readonly byte unit;
        private readonly int timeoutMilliseconds;
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly byte[] request = new byte[Frame.MaxSize];
        private readonly byte[] input = new byte[4 * Frame.MaxSize];
        private volatile Socket socket;
        private int used;
        private ushort transaction;
        private int timeouts;
        private long backOff = FirstBackOffMilliseconds;
        private long nextAttempt;
        private string lastFailure;
        private bool disposed;

        /// <summary>Makes a client; the first call connects.</summary>
        /// <param name="host">Name or address of the server.</param>
        /// <param name="port">Its port, usually 502.</param>
        /// <param name="unit">The unit id to ask for; 255 or 1 for most devices.</param>
        /// <param name="timeout">How long connecting, and an answer, may take.</param>
        public ModbusClient(string host, int port, byte unit, TimeSpan timeout)
        {
            if (string.IsNullOrEmpty(host))
            {
                throw new ArgumentException("name the host", "host");
            }
            if (port < 1 || port > 65535)
            {
                throw new ArgumentOutOfRangeException("port", "a port is 1 to 65535");
            }
            if (timeout <= TimeSpan.Zero || timeout.TotalMinutes > 10)
            {
                throw new ArgumentOutOfRangeException("timeout", "a timeout is above 0 and at most 10 minutes");
            }
            this.host = host;
            this.port = port;
            this.unit = unit;
            timeoutMilliseconds = Math.Max(1, (int)timeout.TotalMilliseconds);
            MaxBackOff = TimeSpan.FromSeconds(5);
        }

        /// <summary>The longest pause between two attempts to connect; default 5 s.</summary>
        public TimeSpan MaxBackOff { get; set; }

        /// <summary>Is there a connection, as far as is known?</summary>
        public bool Connected
        {
            get { return socket != null; }
        }

        /// <summary>Answers that came too late, or for no request of ours, and were dropped.</summary>
        public long DroppedAnswers { get; private set; }

        /// <summary>Reads coils (function 1).</summary>
        /// <param name="address">The first, 0-based.</param>
        /// <param name="count">How many, 1 to 2000.</param>
        public bool[] ReadCoils(int address, int count)
        {
            return ReadBits(Function.ReadCoils, address, count);
        }

        /// <summary>Reads discrete inputs (function 2).</summary>
        /// <param name="address">The first, 0-based.</param>
        /// <param name="count">How many, 1 to 2000.</param>
        public bool[] ReadDiscreteInputs(int address, int count)
        {
            return ReadBits(Function.ReadDiscreteInputs, address, count);
        }

        /// <summary>Reads holding registers (function 3).</summary>
        /// <param name="address">The first, 0-based.</param>
        /// <param name="count">How many, 1 to 125.</param>
        public ushort[] ReadHoldingRegisters(int address, int count)
        {
            return ReadRegisters(Function.ReadHoldingRegisters, address, count);
        }

        /// <summary>Reads input registers (function 4).</summary>
        /// <param name="address">The first, 0-based.</param>
        /// <param name="count">How many, 1 to 125.</param>
        public ushort[] ReadInputRegisters(int address, int count)
        {
            return ReadRegisters(Function.ReadInputRegisters, address, count);
        }

        /// <summary>Sets one coil (function 5).</summary>
        /// <param name="address">0-based.</param>
        /// <param name="value">On or off.</param>
        public void WriteSingleCoil(int address, bool value)
        {
            Write(Function.WriteSingleCoil, address, value ? 0xFF00 : 0, null);
        }

        /// <summary>Sets one holding register (function 6).</summary>
        /// <param name="address">0-based.</param>
        /// <param name="value">The value.</param>
        public void WriteSingleRegister(int address, ushort value)
        {
            Write(Function.WriteSingleRegister, address, value, null);
        }

        /// <summary>Sets coils (function 15).</summary>
        /// <param name="address">The first, 0-based.</param>
        /// <param name="values">1 to 1968 of them.</param>
        public void WriteMultipleCoils(int address, bool[] values)
        {
            CheckRange(address, values.Length, Limit.WriteBits);
            var data = new byte[(values.Length + 7) / 8];
            for (int i = 0; i < values.Length; i++)
            {
                data[i / 8] |= (byte)(values[i] ? 1 << (i % 8) : 0);
            }
            Write(Function.WriteMultipleCoils, address, values.Length, data);
        }

        /// <summary>Sets holding registers (function 16).</summary>
        /// <param name="address">The first, 0-based.</param>
        /// <param name="values">1 to 123 of them.</param>
        public void WriteMultipleRegisters(int address, ushort[] values)
        {
            CheckRange(address, values.Length, Limit.WriteRegisters);
            var data = new byte[2 * values.Length];
            for (int i = 0; i < values.Length; i++)
            {
                Frame.Put(data, 2 * i, values[i]);
            }
            Write(Function.WriteMultipleRegisters, address, values.Length, data);
        }

        /// <summary>Closes the connection; a call that runs in another thread ends first.</summary>
        public void Dispose()
        {
            lock (gate)
            {
                disposed = true;
                Disconnect();
            }
        }

        private bool[] ReadBits(byte function, int address, int count)
        {
            CheckRange(address, count, Limit.ReadBits);
            byte[] answer = Execute(function, address, count, null);
            CheckAnswer(answer.Length == 2 + (count + 7) / 8 && answer[1] == answer.Length - 2);
            var bits = new bool[count];
            for (int i = 0; i < count; i++)
            {
                bits[i] = (answer[2 + i / 8] >> (i % 8) & 1) != 0;
            }
            return bits;
        }

        private ushort[] ReadRegisters(byte function, int address, int count)
        {
            CheckRange(address, count, Limit.ReadRegisters);
            byte[] answer = Execute(function, address, count, null);
            CheckAnswer(answer.Length == 2 + 2 * count && answer[1] == 2 * count);
            var values = new ushort[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = Frame.Get(answer, 2 + 2 * i);
            }
            return values;
        }

        private void Write(byte function, int address, int value, byte[] data)
        {
            CheckRange(address, 1, 1);
            byte[] answer = Execute(function, address, value, data);
            CheckAnswer(answer.Length == 5 && Frame.Get(answer, 1) == address && Frame.Get(answer, 3) == value);
        }

        private static void CheckRange(int address, int count, int most)
        {
            if (count < 1 || count > most)
            {
                throw new ArgumentOutOfRangeException("count", "one request carries 1 to " + most + " values, not " + count);
            }
            if (address < 0 || address + count > 65536)
            {
                throw new ArgumentOutOfRangeException("address", "addresses are 0 to 65535");
            }
        }

        private void CheckAnswer(bool good)
        {
            if (!good)
            {
                throw new ModbusException(Peer + " answered with another length or value than was asked for");
            }
        }

        private string Peer
        {
            get { return host + ":" + port; }
        }

        /// <summary>One request and its answer, which is the whole PDU without an exception.</summary>
        private byte[] Execute(byte function, int address, int value, byte[] data)
        {
            lock (gate)
            {
                Connect();
                try
                {
                    Send(function, address, value, data);
                    byte[] answer = Receive();
                    timeouts = 0;
                    if (answer[0] == (function | 0x80) && answer.Length == 2)
                    {
                        throw new ModbusResponseException(function, answer[1]);
                    }
                    CheckAnswer(answer[0] == function);
                    return answer;
                }
                catch (SocketException error)
                {
                    throw Failed("the connection to " + Peer + " broke: " + error.Message, error);
                }
            }
        }

        private void Connect()
        {
            if (disposed)
            {
                throw new ObjectDisposedException("ModbusClient");
            }
            if (socket != null)
            {
                return;
            }
            long wait = nextAttempt - clock.ElapsedMilliseconds;
            if (wait > 0)
            {
                throw new ModbusConnectionException(lastFailure + " (next attempt in " + wait + " ms)");
            }
            try
            {
                socket = Open();
                used = 0;
                timeouts = 0;
                backOff = FirstBackOffMilliseconds;
            }
            catch (SocketException error)
            {
                throw Failed("cannot connect to " + Peer + ": " + error.Message, error);
            }
        }

        private Socket Open()
        {
            IPAddress[] addresses = Dns.GetHostAddresses(host);
            IPAddress chosen = Array.Find(addresses, a => a.AddressFamily == AddressFamily.InterNetwork) ?? addresses[0];
            var made = new Socket(chosen.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                IAsyncResult pending = made.BeginConnect(chosen, port, null, null);
                if (!pending.AsyncWaitHandle.WaitOne(timeoutMilliseconds))
                {
                    throw new SocketException((int)SocketError.TimedOut);
                }
                made.EndConnect(pending);
                made.NoDelay = true;
                made.SendTimeout = timeoutMilliseconds;
                made.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
                return made;
            }
            catch (SocketException)
            {
                made.Close();
                throw;
            }
        }

        private void Send(byte function, int address, int value, byte[] data)
        {
            int length = data == null ? 5 : 6 + data.Length;
            Frame.PutHeader(request, 0, ++transaction, length, unit);
            request[Frame.HeaderSize] = function;
            Frame.Put(request, Frame.HeaderSize + 1, address);
            Frame.Put(request, Frame.HeaderSize + 3, value);
            if (data != null)
            {
                request[Frame.HeaderSize + 5] = (byte)data.Length;
                Buffer.BlockCopy(data, 0, request, Frame.HeaderSize + 6, data.Length);
            }
            int size = Frame.HeaderSize + length;
            for (int sent = 0; sent < size;)
            {
                sent += socket.Send(request, sent, size - sent, SocketFlags.None);
            }
        }

        /// <summary>Waits for the answer with our transaction id; others are late ones, and dropped.</summary>
        private byte[] Receive()
        {
            long deadline = clock.ElapsedMilliseconds + timeoutMilliseconds;
            while (true)
            {
                int size = Frame.Size(input, 0, used);
                if (size < 0)
                {
                    throw Failed(Peer + " sent something that is no Modbus TCP", null);
                }
                if (size == 0)
                {
                    ReceiveMore(deadline);
                    continue;
                }
                bool ours = Frame.Get(input, 0) == transaction && (input[6] == unit || unit == 0 || input[6] == 0);
                var answer = new byte[size - Frame.HeaderSize];
                Buffer.BlockCopy(input, Frame.HeaderSize, answer, 0, answer.Length);
                used -= size;
                Buffer.BlockCopy(input, size, input, 0, used);
                if (ours)
                {
                    return answer;
                }
                DroppedAnswers++;
            }
        }

        private void ReceiveMore(long deadline)
        {
            long left = deadline - clock.ElapsedMilliseconds;
            // Poll, since a socket whose own receive timeout has struck may not be used again.
            if (left <= 0 || !socket.Poll((int)left * 1000, SelectMode.SelectRead))
            {
                string message = Peer + " has not answered within " + timeoutMilliseconds + " ms";
                if (++timeouts >= TimeoutsUntilReconnect)
                {
                    throw Failed(message + ", " + timeouts + " times in a row: connecting anew", null);
                }
                throw new ModbusTimeoutException(message);
            }
            int count = socket.Receive(input, used, input.Length - used, SocketFlags.None);
            if (count == 0)
            {
                throw Failed(Peer + " closed the connection", null);
            }
            used += count;
        }

        private ModbusConnectionException Failed(string message, Exception cause)
        {
            Disconnect();
            lastFailure = message;
            nextAttempt = clock.ElapsedMilliseconds + backOff;
            backOff = Math.Min(2 * backOff, Math.Max(FirstBackOffMilliseconds, (long)MaxBackOff.TotalMilliseconds));
            return new ModbusConnectionException(message, cause);
        }

        private void Disconnect()
        {
            Socket old = socket;
            socket = null;
            if (old != null)
            {
                old.Close();
            }
        }
    }
}
