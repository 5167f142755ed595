// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading;

namespace YoloQ.Modbus
{
    /// <summary>One client of a server: reads frames, whole or in pieces, one or many at once, and answers in order.</summary>
    internal sealed class ServerConnection
    {
        private const int PollMicroseconds = 250000;
        private const int SendTimeoutMilliseconds = 5000;  // of a client that takes no answers

        private readonly ModbusServer server;
        private readonly Socket socket;
        private readonly RequestHandler handler;
        private readonly byte unit;
        private readonly long idleMilliseconds;
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly Thread thread;
        private readonly byte[] input = new byte[4096];
        private readonly byte[] output = new byte[4096];
        private int used;
        private int pending;
        private long lastRequest;
        private volatile bool stopping;

        internal ServerConnection(
            ModbusServer server, Socket socket, RequestHandler handler, byte unit, TimeSpan idle)
        {
            this.server = server;
            this.socket = socket;
            this.handler = handler;
            this.unit = unit;
            idleMilliseconds = idle > TimeSpan.Zero ? (long)idle.TotalMilliseconds : long.MaxValue;
            socket.NoDelay = true;
            socket.SendTimeout = SendTimeoutMilliseconds;
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            RemoteEndPoint = socket.RemoteEndPoint;
            thread = new Thread(Run) { IsBackground = true, Name = "yoloq modbus client " + RemoteEndPoint };
        }

        internal EndPoint RemoteEndPoint { get; private set; }

        internal object Peer
        {
            get { return socket; }
        }

        internal long SilentMilliseconds
        {
            get { return clock.ElapsedMilliseconds - Interlocked.Read(ref lastRequest); }
        }

        /// <summary>It has been told to end, or ends by itself.</summary>
        internal bool Closing
        {
            get { return stopping; }
        }

        internal void Start()
        {
            thread.Start();
        }

        /// <summary>Lets the thread end, soon. It closes the socket itself.</summary>
        internal void Close()
        {
            stopping = true;
            try
            {
                socket.Shutdown(SocketShutdown.Both);  // wakes the thread
            }
            catch (SocketException)
            {
            }
            catch (ObjectDisposedException)
            {
            }
        }

        internal void Join()
        {
            thread.Join();
        }

        private void Run()
        {
            try
            {
                while (Receive() && AnswerAll())
                {
                }
            }
            catch (SocketException)  // the connection broke: so be it
            {
            }
            finally
            {
                stopping = true;
                try
                {
                    server.Leaving(this);  // before the client can see the end: its bits have fallen by then
                }
                finally
                {
                    socket.Close();
                    server.Forget(this);
                }
            }
        }

        private bool Receive()
        {
            while (!stopping)
            {
                if (socket.Poll(PollMicroseconds, SelectMode.SelectRead))
                {
                    int count = socket.Receive(input, used, input.Length - used, SocketFlags.None);
                    used += count;
                    return count > 0;
                }
                if (SilentMilliseconds > idleMilliseconds)
                {
                    return false;
                }
            }
            return false;
        }

        /// <summary>Answers the complete frames received; keeps the rest. False: close the connection.</summary>
        private bool AnswerAll()
        {
            int start = 0;
            int size;
            while ((size = Frame.Size(input, start, used - start)) > 0)
            {
                Answer(start, size);
                start += size;
            }
            Flush();
            if (size < 0)
            {
                return false;
            }
            used -= start;
            Buffer.BlockCopy(input, start, input, 0, used);
            if (start > 0)
            {
                Interlocked.Exchange(ref lastRequest, clock.ElapsedMilliseconds);
            }
            return SilentMilliseconds <= idleMilliseconds;  // a frame that dribbles in does not keep it open
        }

        private void Answer(int start, int size)
        {
            if (pending + Frame.MaxSize > output.Length)
            {
                Flush();
            }
            byte asked = input[start + 6];
            int pdu = start + Frame.HeaderSize;
            int at = pending + Frame.HeaderSize;
            int length = unit != 0 && asked != unit
                ? RequestHandler.WrongUnit(input[pdu], output, at)
                : handler.Answer(input, pdu, size - Frame.HeaderSize, output, at);
            Frame.PutHeader(output, pending, Frame.Get(input, start), length, asked);
            pending += Frame.HeaderSize + length;
            server.Count();
        }

        private void Flush()
        {
            for (int sent = 0; sent < pending;)
            {
                sent += socket.Send(output, sent, pending - sent, SocketFlags.None);
            }
            pending = 0;
        }
    }
}
